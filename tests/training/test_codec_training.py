"""The codec as it is trained: steady tokens, codes that know no future, quantisers that use their codes; what ships of it."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch

import training.codec.learner as learning
from engine.errors import PackageError
from engine.library import find_model
from engine.model.oscillator import compressed, linear
from engine.spec import OscillatorSpec
from export.checkpoint import load_package
from training.codec.amplitudes import amplitudes
from training.codec.learner import CodecLearner, CodecModel, Quantiser
from training.codec.sounds import Sounds
from training.codec.tokens import steady, tokens
from training.composer.composer import Note
from training.loop import Plan, train
from training.parts import codec_of, eyes_of
from training.pieces import compose, imagine

SMALL = OscillatorSpec(
    codebook_size=16, codebook_dim=4, width=12, layers=2, kernel=3, partials=20, partials_per_octave=4, noise_bands=4
)  # fmt: skip


def notes_of_noise(clips: int, frames: int, seed: int = 0) -> torch.Tensor:
    """Amplitudes [clips, K, T, N] of four sounds that come and go."""
    random = np.random.default_rng(seed)
    sounds = np.abs(random.standard_normal((4, SMALL.amplitudes))) * (
        random.random((4, SMALL.amplitudes)) < 0.3
    )
    chosen = random.integers(0, 4, (clips, SMALL.codebooks, frames // 8)).repeat(8, -1)
    return torch.from_numpy(sounds[chosen].astype(np.float32))


@pytest.mark.parametrize("cost", [0.0, 0.5, 2.0])
def test_steady_tokens_are_the_cheapest_path(cost: float) -> None:
    distances = np.random.default_rng(3).random((6, 3)).astype(np.float32)

    def price(path: tuple[int, ...]) -> float:
        changes = sum(a != b for a, b in pairwise(path))
        return float(distances[range(6), path].sum()) + cost * changes

    best = min(product(range(3), repeat=6), key=price)
    found = tuple(int(code) for code in steady(distances, cost))
    assert price(found) == pytest.approx(price(best))
    if cost == 0:
        assert found == tuple(distances.argmin(1))


def test_a_code_knows_nothing_of_what_comes_after() -> None:
    torch.manual_seed(0)
    part = CodecModel(SMALL).eval().each()[0]
    x = notes_of_noise(1, 40)[0, 0][None]
    changed = x.clone()
    changed[:, 25:] = 0.0
    before, after = part.encoder(x)[0], part.encoder(changed)[0]
    known = 25 - part.encoder.context
    assert torch.equal(before[:known], after[:known])
    assert not torch.allclose(before[known], after[known])


def test_a_quantiser_begins_where_something_is() -> None:
    torch.manual_seed(0)
    centres = torch.randn(16, 4) * 5
    z = centres[torch.randint(16, (2000,))] + 0.01 * torch.randn(2000, 4)
    quantiser = Quantiser(16, 4)
    quantiser.begin(z)
    _, index, loss = quantiser.eval()(z[None])
    assert float(loss) < 0.1 * float(z.var())
    assert len(index.unique()) >= 13


def test_codes_that_nobody_uses_are_put_where_something_is() -> None:
    torch.manual_seed(0)
    quantiser = Quantiser(16, 4).train()
    quantiser.codes.copy_(torch.full((16, 4), 100.0))
    z = torch.randn(8, 50, 4)
    for _ in range(200):
        quantiser(z)
    used = quantiser.eval()(z)[1].unique()
    assert len(used) >= 12


@torch.no_grad()
def figures(learner: CodecLearner) -> dict[str, float]:
    learner.model.eval()
    return learner.evaluate()


def test_a_codec_learns_and_its_shipped_half_sounds_what_was_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "SETTLE_STEPS", 40)
    torch.manual_seed(0)
    data = compressed(notes_of_noise(8, 160) * 0.05)
    learner = CodecLearner(CodecModel(SMALL), data, held_out=2, batch=8, frames=30)
    plan = Plan(
        tmp_path, 300, learning_rate=5e-3, betas=(0.9, 0.99), checkpoint_every=300, evaluate_every=300
    )
    before = figures(learner)
    learner.model.train()
    train(learner, plan, lambda _: None)
    learner.settle()
    after = figures(learner)
    for part in range(4):
        assert after[f"l1_{part}"] < 0.5 * before[f"l1_{part}"]
        assert 2 <= after[f"perplexity_{part}"] <= 16
    model = learner.model
    model.write_codebooks()
    codes = torch.from_numpy(tokens(model, data[-1], change_cost=0.0).astype(np.int64))
    shipped = model.oscillators.amplitudes(torch.cat((codes[:, :1].expand(-1, SMALL.context), codes), 1))
    ends = [part.quantiser.codes[code][None] for part, code in zip(model.each(), codes, strict=True)]
    lead = SMALL.layers * (SMALL.kernel - 1)
    learned = [
        learning_part.decoder(torch.cat((z[:, :1].expand(-1, lead, -1), z), 1))[0]
        for learning_part, z in zip(model.each(), ends, strict=True)
    ]
    expected = torch.stack([linear(each) for each in learned]).sum(0)
    assert torch.allclose(shipped[1:], expected, atol=1e-5)


def test_a_note_sounds_from_its_step_on_and_not_before(sound_font: Path, tmp_path: Path) -> None:
    """Onsets lie on token edges: a step is a frame of the codec."""
    spec = OscillatorSpec()
    steps: list[list[Note]] = [[] for _ in range(60)]
    steps[17] = [Note(3, 70, True, 80, 0)]
    steps[40] = [Note(3, 70, False)]
    sound = amplitudes(steps, Sounds.load(spec, tmp_path / "none.npz"))
    assert not sound[:, :17].any()
    assert sound[3, 17].max() > 0.01
    assert not sound[:3].any()
    heard = sound[3].max(1)
    assert heard[45:].max() < 0.05 * heard[17:40].max()


def test_the_shipped_codec_keeps_the_music(sound_font: Path, tmp_path: Path) -> None:
    """Composed music through codes and back: amplitudes near what was written, part by part."""
    codec = codec_of(find_model("starter"))
    notes = compose(imagine(77, 1000), 77)
    wanted = compressed(torch.from_numpy(amplitudes(notes, Sounds.load(codec.spec, tmp_path / "none.npz"))))
    codes = torch.from_numpy(tokens(codec, wanted).astype(np.int64))
    nothing = torch.full((4, codec.spec.context), codec.spec.codebook_size)
    with torch.no_grad():
        read = torch.cat((nothing, codes), 1)
        for k, (part, book) in enumerate(
            zip(codec.oscillators.parts, codec.oscillators.codebooks, strict=True)
        ):
            made = part(book(read[k : k + 1]))[0, 1:]
            error = float((made - wanted[k]).abs().mean() / wanted[k].abs().mean())
            assert error < WORST_ERROR[k], (k, error)


WORST_ERROR = (0.10, 0.10, 0.15, 0.25)
"""Mean error of compressed amplitudes over their mean, for each part. Seen: 0.07, 0.07, 0.11, 0.19."""


def test_what_is_no_starter_is_refused(tmp_path: Path) -> None:
    tiny = find_model("random-tiny")
    with pytest.raises(PackageError, match="expected codec_encoder"):
        codec_of(tiny)
    for name in ("spec.json", "model.safetensors"):
        (tmp_path / name).write_bytes((find_model("starter") / name).read_bytes())
    with pytest.raises(PackageError, match="expected codec_encoder"):
        codec_of(tmp_path)
    assert eyes_of(tmp_path).clip is not None


def test_the_eyes_that_train_are_those_that_ship() -> None:
    folder = find_model("starter")
    weights = load_package(str(folder)).weights
    assert all(torch.equal(weights[f"vision.{k}"], v) for k, v in eyes_of(folder).state_dict().items())
