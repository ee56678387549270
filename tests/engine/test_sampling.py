"""From logits to tokens: the published rules, and draws that belong to a seed and a step and to nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.sampling import Draw, filtered, guide, pick, sample, sample_all, softmax, uniforms
from engine.spec import StreamPolicy

CARD = 128


def logits(seed: int = 0, rows: int = 2, card: int = CARD) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, 4, card), dtype=np.float32) * 3


def published_top_k(p: Any, k: int) -> Any:
    """Keep p >= the k-th largest; renormalise (vidmuse.md, 3.2)."""
    kept = np.where(p >= np.sort(p)[::-1][k - 1], p, 0)
    return kept / kept.sum()


def published_top_p(p: Any, mass: float) -> Any:
    """Sort descending, drop items whose preceding cumulative mass is above p; renormalise (vidmuse.md, 3.2)."""
    order = sorted(range(len(p)), key=lambda i: -p[i])
    kept, before = np.zeros_like(p), 0.0
    for i in order:
        if before > mass:
            break
        kept[i] = p[i]
        before += p[i]
    return kept / kept.sum()


@pytest.mark.parametrize("k", [1, 2, 50, 127, 128, 250])
def test_top_k_is_the_published_rule(k: int) -> None:
    chances = softmax(logits()[0])
    expected = np.stack([published_top_k(p, min(k, CARD)) for p in chances])
    assert np.allclose(filtered(chances, k, 0.0), expected, rtol=1e-12, atol=0)


def test_ties_at_the_threshold_of_top_k_are_kept() -> None:
    chances = np.array([[0.1, 0.3, 0.2, 0.2, 0.2]])
    kept = filtered(chances, 2, 0.0)
    assert (kept > 0).tolist() == [[False, True, True, True, True]]
    assert np.allclose(kept, [[0, 3 / 9, 2 / 9, 2 / 9, 2 / 9]])


@pytest.mark.parametrize("mass", [1e-9, 0.3, 0.9, 0.999, 1.0])
def test_top_p_is_the_published_rule(mass: float) -> None:
    chances = softmax(logits()[0])
    expected = np.stack([published_top_p(p, mass) for p in chances])
    assert np.allclose(filtered(chances, 0, mass), expected, rtol=1e-12, atol=0)


def test_the_token_that_crosses_the_nucleus_is_kept_and_the_next_one_dropped() -> None:
    chances = np.array([[0.125, 0.5, 0.25, 0.125]])
    assert (filtered(chances, 0, 0.5) > 0).tolist() == [
        [False, True, True, False]
    ]  # 0.5 before it is not more than 0.5
    assert (filtered(chances, 0, 0.49) > 0).tolist() == [[False, True, False, False]]


def test_the_likeliest_token_is_in_every_nucleus() -> None:
    assert filtered(np.array([[0.2, 0.8]]), 0, 1e-12).tolist() == [[0.0, 1.0]]


def test_top_p_replaces_top_k() -> None:
    chances = softmax(logits()[0])
    assert np.array_equal(filtered(chances, 3, 0.9), filtered(chances, 0, 0.9))


def test_without_a_filter_every_chance_stays() -> None:
    chances = softmax(logits()[0])
    assert np.allclose(filtered(chances, 0, 0.0), chances, rtol=1e-12)


def test_temperature_zero_takes_the_likeliest_token_of_the_guided_logits() -> None:
    policy = StreamPolicy(temperature=0, guidance=3)
    cond, null = logits()
    assert np.array_equal(sample(logits(), policy, 7), (null + 3 * (cond - null)).argmax(-1))
    assert not np.array_equal((null + 3 * (cond - null)).argmax(-1), cond.argmax(-1))


def test_a_cold_temperature_tends_to_the_likeliest_token() -> None:
    for step in range(50):
        cold = sample(logits(step), StreamPolicy(temperature=1e-4), step)
        assert np.array_equal(cold, sample(logits(step), StreamPolicy(temperature=0), step))


@pytest.mark.parametrize("temperature", [5e-324, 1e-45, 1e-39, 1e-37, 1e-30, 1e-6])
@pytest.mark.parametrize("others", [{}, {"top_k": 0}, {"top_p": 0.9}], ids=str)
def test_no_temperature_is_too_cold_for_the_likeliest_token(temperature: float, others: Any) -> None:
    cold = sample(logits(), StreamPolicy(temperature=temperature, **others), 3)
    assert np.array_equal(cold, sample(logits(), StreamPolicy(temperature=0), 3))


def test_temperature_divides_the_guided_logits() -> None:
    halved = StreamPolicy(temperature=2.0, guidance=1.5, top_k=0)
    plain = StreamPolicy(temperature=1.0, guidance=1.5, top_k=0)
    for step in range(50):
        assert np.array_equal(sample(logits(step), halved, step), sample(logits(step) / 2, plain, step))


def test_guidance_of_one_and_of_zero_are_the_two_rows() -> None:
    both = logits()
    assert np.allclose(guide(both, 1.0), both[0], atol=1e-6)
    assert np.array_equal(guide(both, 0.0), both[1])
    assert np.array_equal(guide(both[:1], 7.0), both[0])


def test_draws_belong_to_their_seed_and_step() -> None:
    """The same numbers whatever was drawn before, in whatever order; others for any other seed, step or codebook."""
    keys = [(seed, step) for seed in (0, 1, 2**63 - 1) for step in (0, 1, 2, 10**9)]
    once = {key: uniforms(*key, 4) for key in keys}
    again = {key: uniforms(*key, 4) for key in reversed(keys)}
    assert all(np.array_equal(once[key], again[key]) for key in keys)
    numbers = np.concatenate(list(once.values()))
    assert len(set(numbers.tolist())) == 4 * len(keys)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.array_equal(uniforms(5, 3, 4)[:2], uniforms(5, 3, 2))


def test_draws_of_successive_steps_do_not_overlap_however_many_codebooks_there_are() -> None:
    numbers = np.concatenate([uniforms(9, step, 9) for step in range(200)])
    assert len(set(numbers.tolist())) == 9 * 200


def test_draws_of_successive_steps_are_even_and_unrelated() -> None:
    drawn = np.stack([uniforms(11, step, 4) for step in range(20_000)])
    counts = np.stack([np.histogram(column, 20, (0, 1))[0] for column in drawn.T])
    assert (
        chi_square(counts, np.full(20, 1 / 20)).max() < 50
    )  # 19 degrees of freedom, chance of more: 1 in 7000
    related = np.corrcoef(np.concatenate((drawn[:-1], drawn[1:]), axis=1).T) - np.eye(8)
    assert np.abs(related).max() < 0.03  # four deviations


def chi_square(counts: Any, chances: Any) -> Any:
    expected = counts.sum(-1, keepdims=True) * chances
    return ((counts - expected) ** 2 / expected).sum(-1)


def test_picks_are_distributed_as_the_chances_say() -> None:
    chances = softmax(logits(card=12)[0])
    draws = 20_000
    picked = np.stack([pick(chances, uniforms(3, step, 4)) for step in range(draws)])
    counts = np.stack([np.bincount(picked[:, k], minlength=12) for k in range(4)])
    assert chi_square(counts, chances).max() < 40  # 11 degrees of freedom, chance of more: 1 in 25000


def test_a_sampled_token_is_one_that_the_filter_kept() -> None:
    policy = StreamPolicy(top_k=5, guidance=3)
    for step in range(200):
        read = logits(step)
        kept = filtered(softmax(guide(read, 3)), 5, 0)
        token = sample(read, policy, step)
        assert (kept[np.arange(4), token] > 0).all()
        assert token.dtype == np.int64


def test_the_edges_of_the_unit_interval_pick_tokens_with_a_chance() -> None:
    chances = np.array([[0, 0, 0.25, 0.75, 0, 0]])
    assert pick(chances, np.array([0.0])).tolist() == [2]
    assert pick(chances, np.array([0.25])).tolist() == [3]
    assert pick(chances, np.array([np.nextafter(1.0, 0)])).tolist() == [3]
    rounded = np.full((1, 10), 0.1)  # ten tenths add to less than one
    assert pick(rounded, np.array([np.nextafter(1.0, 0)])).tolist() == [9]


POLICIES = (
    StreamPolicy(seed=1),
    StreamPolicy(seed=2, guidance=1.5, temperature=0.7),
    StreamPolicy(seed=2**63 - 1, guidance=6.0, top_k=3),
    StreamPolicy(seed=4, top_k=0),
    StreamPolicy(seed=5, top_p=0.9, temperature=1.3),
    StreamPolicy(seed=6, temperature=0),
    StreamPolicy(seed=7, guidance=1.0),
)


@pytest.mark.parametrize("card", [37, 1024])
@pytest.mark.parametrize("held", [False, True])
def test_streams_that_are_drawn_together_draw_what_each_draws_alone(card: int, held: bool) -> None:
    random = np.random.default_rng(3)
    draws: list[Draw] = []
    for at in range(40):  # more than `FEW_DRAWS` of some kinds, one of others
        policy = POLICIES[at % len(POLICIES)] if at < 20 else POLICIES[0]
        logits = random.standard_normal((2 if policy.guided else 1, 4, card), np.float32) * 4
        allowed = random.random((4, card)) < 0.5 if held and at % 3 else None
        if at % 5 == 4:
            logits = logits.round()  # ties at thresholds
        draws.append(Draw(logits, policy, 1000 + at // 2, allowed))
    together = sample_all(draws)
    for draw, tokens in zip(draws, together, strict=True):
        np.testing.assert_array_equal(tokens, sample(draw.logits, draw.policy, draw.step, draw.allowed))
        np.testing.assert_array_equal(tokens, plainly(draw))
        assert tokens.dtype == np.int64


def plainly(draw: Draw) -> NDArray[np.int64]:
    """One stream, one codebook after another."""
    policy, mixed = draw.policy, guide(draw.logits, draw.policy.guidance)
    tokens = []
    for book, draws in enumerate(uniforms(policy.seed, draw.step, len(mixed))):
        row = mixed[book] if draw.allowed is None else np.where(draw.allowed[book], mixed[book], -np.inf)
        if policy.temperature == 0:
            tokens.append(int(row.argmax()))
            continue
        chances = filtered(softmax(row / policy.temperature), policy.top_k, policy.top_p)
        tokens.append(int(pick(chances[None], np.array([draws]))[0]))
    return np.array(tokens)
