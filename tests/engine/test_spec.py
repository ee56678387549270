"""Facts and choices: a spec survives its JSON, and whatever breaks a rule is named."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from engine.spec import (
    CodecSpec,
    DecoderSpec,
    LongShortSpec,
    ModelSpec,
    OscillatorSpec,
    StreamPolicy,
    VisionSpec,
)
from export.random_model import nano_spec, published_spec, tiny_spec

SPECS = [tiny_spec(), published_spec("small"), published_spec("medium"), replace(tiny_spec(), codec=None)]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_a_spec_survives_its_json(spec: ModelSpec) -> None:
    again = ModelSpec.from_json(spec.to_json())
    assert again == spec
    assert again.digest == spec.digest
    assert again.to_json() == spec.to_json()


def test_every_fact_changes_the_digest() -> None:
    spec = tiny_spec()
    others = [
        replace(spec, name="other"),
        replace(spec, codec=None),
        replace(spec, decoder=replace(spec.decoder, guidance=2.0)),
        replace(spec, vision=replace(spec.vision, activation="gelu")),
    ]
    assert len({s.digest for s in (spec, *others)}) == 5


def test_the_released_geometry_counts_as_the_notes_say() -> None:
    spec = published_spec("medium")
    assert (spec.steps_per_slot, spec.window_slots, spec.vision.tokens) == (25, 60, 50)
    assert (spec.trained_steps, spec.max_positions) == (1501, 1504)
    assert spec.codec is not None
    assert (spec.codec.hop, spec.codec.lstm_width, spec.decoder.head_dim, spec.decoder.special) == (
        640,
        1024,
        64,
        2048,
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda raw: raw | {"tempo": 1}, "spec: unknown field 'tempo'"),
        (lambda raw: raw | {"decoder": raw["decoder"] | {"kv_repeat": 2}}, "decoder: unknown field 'kv_repeat'"),
        (lambda raw: raw | {"codec": raw["codec"] | {"causal": True}}, "codec: unknown field 'causal'"),
        (lambda raw: {k: v for k, v in raw.items() if k != "vision"}, "vision"),
        (lambda raw: raw | {"vision": {"width": 1}}, "vision: .*layers"),
        (lambda raw: [raw], "a JSON object, not list"),
        (lambda raw: raw | {"vision": None}, "vision"),
        (lambda raw: raw | {"vision": 5}, "vision"),
        (lambda raw: raw | {"decoder": raw["decoder"] | {"width": "wide"}}, "decoder|spec"),
        (lambda raw: raw | {"codec": raw["codec"] | {"kind": ["encodec"]}}, "codec: unknown kind"),
        (lambda raw: raw | {"codec": raw["codec"] | {"ratios": [-5, -4, 8, 4]}}, "ratios"),
    ],
    ids=["unknown", "unknown in decoder", "unknown in codec", "missing", "missing in vision", "a list", "null part",
         "a number as part", "text as number", "a list as kind", "negative ratios"],
)  # fmt: skip
def test_a_text_that_is_no_spec_is_a_value_error_that_names_the_field(change: Any, expected: str) -> None:
    text = json.dumps(change(json.loads(tiny_spec().to_json())))
    with pytest.raises(ValueError, match=expected):
        ModelSpec.from_json(text)


NUMBERS = [
    (part, field.name)
    for part, kind in (("", ModelSpec), ("vision", VisionSpec), ("long_short", LongShortSpec), ("decoder", DecoderSpec),
                       ("encodec", CodecSpec), ("oscillator", OscillatorSpec))
    for field in fields(kind)
    if field.type in ("int", "float")
]  # fmt: skip


@pytest.mark.parametrize("value", [0, -1, True, "many", None, [2]], ids=str)
@pytest.mark.parametrize(("part", "name"), NUMBERS)
def test_a_size_that_cannot_be_is_a_value_error_that_names_it(part: str, name: str, value: Any) -> None:
    raw = json.loads((nano_spec() if part == "oscillator" else tiny_spec()).to_json())
    (raw["codec"] if part in ("encodec", "oscillator") else raw[part] if part else raw)[name] = value
    if (name, value) in (("ages", 0), ("guidance", 0)):
        ModelSpec.from_json(json.dumps(raw))
        return
    with pytest.raises(ValueError, match=f"{name} is a .*above 0|{name} is a .*0 or more"):
        ModelSpec.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    ("part", "change", "rule"),
    [
        ("decoder", {"heads": 3}, "decoder width is a multiple of its heads"),
        ("vision", {"heads": 5}, "vision width is a multiple of its heads"),
        ("long_short", {"fusion_heads": 5}, "multiple of the fusion heads"),
        ("long_short", {"frame_rate": 3}, "whole number of steps"),
        ("decoder", {"codebooks": 3}, "one delay for each codebook"),
        ("decoder", {"delays": (0, 1, 2, 2)}, "delays are 0, 1, 2"),
        ("codec", {"codebooks": 3}, "the codec has the decoder's codebooks"),
        ("codec", {"codebook_size": 127}, "knows every token"),
        ("codec", {"sample_rate": 24000}, "hop gives the code rate"),
    ],
)
def test_facts_that_do_not_fit_together_are_refused(part: str, change: dict[str, Any], rule: str) -> None:
    spec = tiny_spec()
    with pytest.raises(ValueError, match=rule):
        replace(spec, **{part: replace(getattr(spec, part), **change)})


BAD_CHOICES: dict[str, list[Any]] = {
    "seed": [-1, 2**63, "1"],
    "guidance": [-0.1, 20.5, float("nan")],
    "temperature": [-1, 10.5, float("nan")],
    "top_k": [-1, 2.5],
    "top_p": [-0.1, 1.1, float("nan")],
    "short_term_s": [0.4, -1, float("nan"), float("inf")],
    "context_s": [-0.1, float("nan"), float("inf")],
    "chunk_steps": [0, 501, 5.5, None],
    "encode_every_steps": [0],
    "recalled": [0, 65],
    "long_term_capacity": [63, 30],
    "refresh_every_steps": [0],
    "key": ["H", "c"],
    "energy": [-1.1, 1.1, float("nan")],
    "on_cut": ["remember"],
    "refresh": ["never"],
}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, values in BAD_CHOICES.items() for v in values])
def test_a_choice_beyond_its_limit_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"stream policy: .*{name}"):
        StreamPolicy(**{name: value})


def test_every_choice_is_checked_or_has_no_limit() -> None:
    switches = {"open_slot", "hold_last_frame"}
    thresholds = {"similar_below", "motion_similar_below", "cut_above", "cut_colours_above"}
    assert {f.name for f in fields(StreamPolicy)} == set(BAD_CHOICES) | switches | thresholds


COSTS: dict[str, int] = {
    "context_s": 1,
    "short_term_s": 1,
    "encode_every_steps": -1,
    "refresh_every_steps": -1,
    "chunk_steps": -1,
}
"""Choices that an effort changes, and whether more of one costs more or less."""


@pytest.mark.parametrize("least", [False, True])
def test_a_light_effort_costs_no_more_in_anything(least: bool) -> None:
    extremes = {"context_s": 1.0, "short_term_s": 2.0, "encode_every_steps": 50, "refresh_every_steps": 50}
    policy = StreamPolicy(seed=3, temperature=0.5, **extremes if least else {})
    light = policy.at_effort("light")
    assert policy.at_effort("full") == policy
    assert light.at_effort("light") == light
    for field in fields(StreamPolicy):
        before, after = getattr(policy, field.name), getattr(light, field.name)
        assert before == after or COSTS[field.name] * (after - before) < 0, field.name
    assert (light == replace(policy, chunk_steps=light.chunk_steps)) is least
