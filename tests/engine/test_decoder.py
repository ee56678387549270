"""The decoder and the visual path: caches change nothing, frames are a set, the null condition is one frame's tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from engine.backends.torch import TorchBackend
from engine.model.decoder import Decoder, empty_caches, frame_attention
from engine.patterns import DelayPattern
from export.checkpoint import load_model

COLUMNS, FRAMES = 24, 5
LOGITS_TOLERANCE = 1e-5
"""Of logits that reach 5. Seen: at most 2.4e-6 on either backend."""
TOKENS_TOLERANCE = 2e-6
"""Of condition tokens that reach 4. Seen: at most 5e-7."""


def random(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def columns(seed: int = 0, count: int = COLUMNS, card: int = 128) -> NDArray[np.int64]:
    """[S, K], delayed as a real sequence is."""
    codes = np.random.default_rng(seed).integers(0, card, (4, count))
    return DelayPattern(4, card).sequence(codes, count)


class Session:
    """A backend with a condition of random tokens and its caches."""

    def __init__(self, backend: Any, guided: bool = True, segments: int = 1, tokens: Any = None) -> None:
        spec = backend.spec
        if tokens is None:
            tokens = random(1, FRAMES, spec.vision.tokens, spec.decoder.width)
        self.backend, self.frames = backend, len(tokens)
        self.condition = backend.new_condition(len(tokens))
        backend.write_condition(self.condition, 0, tokens)
        self.caches = backend.new_caches(segments, guided, COLUMNS + 8)

    def step(self, read: Any, position: Any, segment: int = 0) -> NDArray[np.float32]:
        """read: [G, T, K]; position: [G]."""
        got: NDArray[np.float32] = self.backend.step(
            self.caches, segment, self.condition, self.frames, np.asarray(read), np.asarray(position)
        )
        return got

    def play(self, read: Any, segment: int = 0) -> NDArray[np.float32]:
        """One column after another from position 0; the logits after each of them, [S, R, K, card]."""
        return np.stack([self.step(read[None, i : i + 1], [i], segment)[0] for i in range(len(read))])


@pytest.mark.parametrize("guided", [True, False])
def test_cached_step_equals_full_forward(torch_backend: TorchBackend, guided: bool) -> None:
    """At every position: the logits of the whole sequence read at once are those of one column after another."""
    full = full_forward(torch_backend.model.decoder, guided)
    stepped = Session(torch_backend, guided).play(columns())
    assert full.shape == (2 if guided else 1, COLUMNS, 4, 128)
    assert np.abs(full.transpose(1, 0, 2, 3) - stepped).max() <= LOGITS_TOLERANCE


@torch.inference_mode()
def full_forward(decoder: Decoder, guided: bool, read: Any = None) -> NDArray[np.float32]:
    """[R, S, K, card]: all columns at once over empty caches."""
    read = torch.from_numpy(columns() if read is None else read)[None]
    keys, values = decoder.project(torch.from_numpy(random(1, FRAMES, 50, decoder.spec.width)))
    caches = empty_caches(decoder.spec, 2 if guided else 1, read.shape[1])
    return np.asarray(
        decoder(read, torch.zeros(1, dtype=torch.int64), *caches, keys, values, guided)[0][0].numpy()
    )


def test_a_column_depends_on_none_behind_it(torch_backend: TorchBackend) -> None:
    other = columns()
    other[15:] = (other[15:] + 1) % 128
    plain, changed = (full_forward(torch_backend.model.decoder, True, read) for read in (columns(), other))
    assert np.abs(plain - changed)[:, :15].max() <= LOGITS_TOLERANCE
    assert np.abs(plain - changed)[:, 15:].max((0, 2, 3)).min() > 1e-2


@pytest.mark.parametrize("guided", [True, False])
def test_prefill_equals_column_by_column(backend: Any, guided: bool) -> None:
    """The logits that follow a prompt, those that follow the next columns, and the caches themselves."""
    stepped, prefilled = Session(backend, guided), Session(backend, guided)
    expected = stepped.play(columns())
    for count in (COLUMNS - 2, 2):
        got = prefilled.step(columns()[None, :count], [0])[0]
        assert np.abs(got - expected[count - 1]).max() <= LOGITS_TOLERANCE
        held = [backend.read_caches(s.caches, 0, count) for s in (stepped, prefilled)]
        assert np.abs(held[0] - held[1]).max() <= LOGITS_TOLERANCE
        assert np.abs(
            prefilled.step(columns()[None, count : count + 1], [count])[0] - expected[count]
        ).max() <= (LOGITS_TOLERANCE)


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("origin", [0, 1, 9])
def test_a_batch_of_two_segments_equals_each_alone(backend: Any, guided: bool, origin: int) -> None:
    """The second segment is `origin` columns behind the first one, as a following segment is."""
    both, first, second = (
        Session(backend, guided, segments=2),
        Session(backend, guided),
        Session(backend, guided),
    )
    one, two = columns(seed=1), columns(seed=2)
    for i in range(origin):
        both.step(one[None, i : i + 1], [i])
    alone = first.play(one)[origin:], second.play(two)[: COLUMNS - origin]
    for i in range(COLUMNS - origin):
        together = both.step(np.stack((one[origin + i], two[i]))[:, None], [origin + i, i])
        for row in (0, 1):
            assert np.abs(together[row] - alone[row][i]).max() <= LOGITS_TOLERANCE
    assert np.abs(alone[0][-1] - alone[1][-1]).max() > 1e-2


@pytest.mark.parametrize("guided", [True, False])
def test_the_second_half_of_the_caches_alone_equals_the_first(backend: Any, guided: bool) -> None:
    expected = Session(backend, guided).play(columns())
    got = Session(backend, guided, segments=2).play(columns(), segment=1)
    assert np.abs(got - expected).max() <= LOGITS_TOLERANCE


@pytest.mark.parametrize("guided", [True, False])
def test_garbage_behind_the_length_of_a_cache_does_not_matter(backend: Any, guided: bool) -> None:
    clean, dirty = Session(backend, guided), Session(backend, guided)
    held = backend.read_caches(dirty.caches, 0, COLUMNS + 8)
    backend.write_caches(dirty.caches, 0, np.full_like(held, 1e4))
    assert np.abs(clean.play(columns()) - dirty.play(columns())).max() <= LOGITS_TOLERANCE
    backend.write_caches(dirty.caches, 0, np.full_like(held, 1e4))
    got = dirty.step(columns()[None], [0])[0]
    assert np.abs(got - Session(backend, guided).step(columns()[None], [0])[0]).max() <= LOGITS_TOLERANCE


def test_slots_of_the_condition_that_are_not_in_use_do_not_matter(backend: Any) -> None:
    spec = backend.spec
    tokens = random(1, FRAMES, spec.vision.tokens, spec.decoder.width)
    dirty = Session(backend, tokens=np.concatenate((tokens, 100 * random(9, 3, *tokens.shape[1:]))))
    dirty.frames = FRAMES
    assert (
        np.abs(dirty.play(columns()) - Session(backend, tokens=tokens).play(columns())).max()
        <= LOGITS_TOLERANCE
    )


def test_frames_of_the_condition_are_a_set(backend: Any) -> None:
    """Permuting them changes nothing; replacing one does."""
    spec = backend.spec
    tokens = random(1, FRAMES, spec.vision.tokens, spec.decoder.width)
    expected = Session(backend, tokens=tokens).play(columns())
    permuted = Session(backend, tokens=tokens[[3, 0, 4, 2, 1]]).play(columns())
    assert np.abs(permuted - expected).max() <= LOGITS_TOLERANCE
    other = tokens.copy()
    other[2] = random(7, *other.shape[1:])
    assert np.abs(Session(backend, tokens=other).play(columns()) - expected).max() > 1e-2


def test_a_frame_twice_among_frames_twice_is_the_frames_once(backend: Any) -> None:
    """Softmax over duplicated keys is softmax over the keys: why 50 null tokens are enough."""
    spec = backend.spec
    tokens = random(1, FRAMES, spec.vision.tokens, spec.decoder.width)
    twice = Session(backend, tokens=np.concatenate((tokens, tokens))).play(columns())
    assert np.abs(twice - Session(backend, tokens=tokens).play(columns())).max() <= LOGITS_TOLERANCE


@pytest.mark.parametrize(("segments", "columns"), [(1, 1), (2, 1), (1, 3)])
def test_attention_over_frames_is_attention_over_one_long_row(segments: int, columns: int) -> None:
    """Frame by frame, without moving them together: softmax still runs over all tokens of all frames."""
    heads, width = 4, 64
    asked = torch.from_numpy(3 * random(4, segments, columns, width))
    keys, values = (torch.from_numpy(3 * random(s, FRAMES, heads, 50, width // heads)) for s in (5, 6))
    scaled = keys.transpose(2, 3) * (width // heads) ** -0.5  # as `project` leaves them
    got = frame_attention(asked, scaled, values, heads)
    rows = [x.transpose(0, 1).reshape(1, heads, -1, width // heads) for x in (keys, values)]
    queries = asked.reshape(1, segments * columns, heads, -1).transpose(1, 2)
    expected = F.scaled_dot_product_attention(queries, *rows).transpose(1, 2).reshape(asked.shape)
    assert float((got - expected).abs().max()) <= 1e-5  # of values that reach 9; seen: 4e-6


def test_recalled_frames_are_a_set(backend: Any) -> None:
    spec = backend.spec
    short = random(2, 3, spec.vision.tokens, spec.vision.width)
    memory = random(3, 4, 2, spec.vision.tokens, spec.vision.width)
    expected = backend.fuse(short, memory)
    assert np.abs(backend.fuse(short, memory[[2, 0, 3, 1]]) - expected).max() <= TOKENS_TOLERANCE
    assert np.abs(backend.fuse(short, memory[:3]) - expected).max() > 1e-2


def test_the_tokens_of_a_frame_depend_on_no_other_frame_of_the_window(backend: Any) -> None:
    spec = backend.spec
    short = random(2, 6, spec.vision.tokens, spec.vision.width)
    memory = random(3, 4, 2, spec.vision.tokens, spec.vision.width)
    together = backend.fuse(short, memory)
    alone = np.concatenate([backend.fuse(frame[None], memory) for frame in short])
    assert np.abs(together - alone).max() <= TOKENS_TOLERANCE


def test_frames_are_encoded_each_on_its_own(backend: Any, pictures: Any) -> None:
    frames = pictures(4, 3)
    for verb in (lambda x: x, backend.look, backend.remember):
        together = verb(backend.encode_frames(frames))
        alone = np.concatenate([verb(backend.encode_frames(frame[None])) for frame in frames])
        assert np.abs(together - alone).max() <= 5e-6  # features reach 6; seen: 1e-6


@pytest.mark.parametrize("recalled", [32, 60])
@torch.inference_mode()
def test_the_null_condition_of_one_frame_equals_that_of_sixty(
    torch_backend: TorchBackend, recalled: int
) -> None:
    """Every null frame has the same tokens, and the decoder cannot tell one from sixty; the whole visual path is run."""
    model, side = torch_backend.model, torch_backend.spec.vision.image_size

    def black(count: int) -> Tensor:
        return torch.zeros(count, side, side, 3, dtype=torch.uint8)

    one, many = model.condition(black(1), black(1)), model.condition(black(60), black(recalled))
    assert float((many - one).abs().max()) <= TOKENS_TOLERANCE
    logits = [Session(torch_backend, tokens=x.numpy()).play(columns()) for x in (one, many)]
    assert np.abs(logits[0] - logits[1]).max() <= LOGITS_TOLERANCE
    assert (
        np.abs(logits[1][:, 0] - logits[1][:, 1]).max() <= LOGITS_TOLERANCE
    )  # the null row is held as 50 tokens
    other = Session(torch_backend).play(columns())
    assert np.abs(other[:, 0] - other[:, 1]).max() > 1e-2
    assert np.abs(other[:, 1] - logits[1][:, 1]).max() <= LOGITS_TOLERANCE  # and sees no frame


def test_the_unguided_step_is_the_conditional_row_of_the_guided_one(backend: Any) -> None:
    guided, unguided = Session(backend, True).play(columns()), Session(backend, False).play(columns())
    assert np.abs(guided[:, :1] - unguided).max() <= LOGITS_TOLERANCE


def test_a_step_beyond_the_cache_is_refused(onnx_backend: Any) -> None:
    session = Session(onnx_backend)
    with pytest.raises(ValueError, match=f"{COLUMNS + 8} positions cannot hold another column"):
        session.step(columns()[None, :1], [COLUMNS + 8])


def test_a_prompt_behind_other_columns_is_refused(onnx_backend: Any) -> None:
    with pytest.raises(ValueError, match="only one segment that holds nothing"):
        Session(onnx_backend).step(columns()[None, :3], [1])


def test_a_frame_beyond_the_condition_is_refused(onnx_backend: Any) -> None:
    session = Session(onnx_backend)
    tokens = random(0, 1, onnx_backend.spec.vision.tokens, onnx_backend.spec.decoder.width)
    with pytest.raises(ValueError, match=f"{FRAMES} slots cannot hold slot {FRAMES}"):
        onnx_backend.write_condition(session.condition, FRAMES, tokens)


def test_norms_that_are_folded_into_the_products_behind_them_change_nothing(tiny_package: Any) -> None:
    """Logits of a decoder whose norms scale and shift, before and after."""
    model = load_model(tiny_package)
    decoder, spec = model.decoder, model.spec.decoder
    random = torch.Generator().manual_seed(3)
    norms = [part for part in decoder.modules() if isinstance(part, torch.nn.LayerNorm)]
    for norm in norms:
        for part, mean in ((norm.weight, 1.0), (norm.bias, 0.0)):
            part.data = mean + 0.3 * torch.randn(spec.width, generator=random)
    tokens = torch.randint(0, spec.card, (1, 5, spec.codebooks), generator=random)
    condition = torch.randn(2, model.spec.vision.tokens, spec.width, generator=random)

    def logits() -> Tensor:
        with torch.inference_mode():
            caches = empty_caches(spec, 2, 5)
            return decoder(tokens, torch.zeros(1, dtype=torch.int64), *caches, *decoder.project(condition))[0]

    before = logits()
    decoder.fold_norms("cpu", torch.float32)
    assert len(norms) == 3 * spec.layers + 1
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)
    assert (logits() - before).abs().max() < 1e-5 * before.abs().max()
