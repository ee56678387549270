"""What the columns of the tables mean, by the rows that they are of."""

from __future__ import annotations

from typing import Any

from cuestream.gpu.fidelity import FidelityRow
from cuestream.gpu.peers import PeerRow
from cuestream.gpu.profile import KernelRow
from cuestream.gpu.providers import ProviderRow
from cuestream.gpu.steps import Alone, StepRow
from cuestream.gpu.streams import StreamsRow

FAILED = {"failed": "why it could not be measured"}

LEGENDS: dict[type[Any], dict[str, str]] = {
    StepRow: {
        "streams": "how many share a step, each with two segments under guidance, on average as full as a whole one",
        "ms": "a step, ten of them in a call, the host's part in it",
        "roof_ms": "what the step reads, at the rate of a copy on this device",
        "single_ms": "a step, each a call of its own",
        "gb_a_step": "weights, caches and conditions that it reads, each number once",
        "gb_s": "that over ms",
        "of_copy": "roof over ms: 1 is a step that takes no longer than its bytes",
        "mb_a_stream": "caches and condition of each stream",
    },
    Alone: {
        "music_s": "seconds that it played, as fast as it goes, with guidance",
        "step_p50_ms, step_p99_ms": "a step, each a call of its own",
        "step_roof_ms": "what the mean step reads, at the rate of a copy on this device",
        "p99_over_p50": "how even steps are: 1 is quite even",
        "turn_p50_ms, turn_p99_ms": "a step with the look at a picture before it and the codec behind it",
        "decoder_x_real_time": "20 ms, which a step plays, over step p50",
        "whole_x_real_time": "seconds of music for a second of everything: pictures, steps, codec, Python",
        "first_audio_ms": "from a picture to a stream that was just opened, to its first chunk",
        "hand_overs": "how often a following segment took over",
        "of_copy": "roof over step p50",
    },
    FidelityRow: {
        "setting": "what is compared with the plain model in float32",
        "steps": "how many, each behind the columns that the plain model drew",
        "logits": "root mean square of the difference over that of the plain ones",
        "greedy": "share of tokens of which the likeliest is the same",
        "drawn": "share of tokens that the same draws give",
        "alike": "columns that two streams of likeliest tokens have in common before they part",
        "played": "of so many",
    },
    StreamsRow: {
        "streams": "listeners who play as chunks of 100 ms come",
        "processes": "that share them, each with weights of its own",
        "context_s": "music that a following segment has heard when it takes over",
        "seconds": "of the run",
        "c50, c100, c200": "share of listeners whose music never came more than so many ms too late",
        "worst_ms": "the latest that any music came",
        "busy": "share of the time in which the engine worked",
        "tick_p50_ms, tick_p99_ms": "the work for one chunk of everybody, for which there are 100 ms",
        "shown, stepping, codec": "shares of it: comparing pictures, looks and steps, sound",
        "answer_p50_ms, answer_p95_ms": "from a picture shown to the first chunk that knows it",
        "age_p50_ms, age_p95_ms": "of the newest picture in a chunk when it is heard",
        "first_p50_ms, first_p95_ms": "from a listener's beginning to the first chunk",
        "power_w": "what the GPU draws at the end; none where the driver does not say, or of a part of it (MIG)",
    },
    ProviderRow: {
        "provider": "what runs the exported graphs",
        "model": "its name",
        "step_p50_ms, step_p99_ms": "a step of one stream with guidance, each a call of its own",
        "x_real_time": "20 ms, which a step plays, over step p50",
        **FAILED,
    },
    PeerRow: {
        "way": "how a user may run it: its attention and its cache",
        "streams": "in a step, with guidance, behind 750 columns and 20 frames",
        "p50_ms, p99_ms": "a step, each a call of its own",
        "x_real_time": "20 ms, which a step plays, over p50",
        "times_ours": "p50 over step p50 of our stream alone: how many times as fast ours is",
        **FAILED,
    },
    KernelRow: {
        "name": "as the device knows it",
        "calls, us": "launches, and microseconds of all of them, in one such piece of work",
        "us_each": "of a launch",
        "share": "of the time of all kernels",
    },
}
"""Columns by the names of their fields, those that are told together with commas between."""


def legend(kind: type[Any], columns: set[str]) -> str:
    """Of those columns that a table has."""
    known = LEGENDS.get(kind, {})
    return "; ".join(
        f"{names.replace('_', ' ')}: {meaning}"
        for names, meaning in known.items()
        if columns.intersection(names.split(", "))
    )
