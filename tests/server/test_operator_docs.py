"""The operator's pages name every metric there is and every limit with its default."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from server.http.connections import DoorLimits
from server.ingest.limits import IngestLimits
from server.metrics import Metrics
from server.output.limits import OutputLimits
from server.pictures.decoders import DecoderLimits
from server.recording.shelf import RecordingLimits
from server.webrtc.limits import PeerLimits

DOCS = Path(__file__).parents[2] / "docs"
LIVE, INGEST, OUTPUT = (
    (DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("live", "ingest", "output")
)
PARTS = re.compile(r"_(bucket|count|sum|created)$")


def metrics() -> set[str]:
    """As they are asked for."""
    names = set()
    for family in Metrics().registry.collect():
        names.add(family.name + ("_total" if family.type == "counter" else ""))
    return names


def test_every_metric_is_described_and_none_besides() -> None:
    told = set(re.findall(r"`(cuestream_[a-z_]+)", LIVE + INGEST + OUTPUT))
    assert {PARTS.sub("", name) for name in told} == metrics()


@pytest.mark.parametrize("limits", [DoorLimits(), DecoderLimits(), RecordingLimits(), PeerLimits()], ids=repr)
def test_every_limit_of_the_server_is_described_with_its_default(limits: Any) -> None:
    described = dict(
        re.findall(r"^\| `([a-z_]+)` \| ([^ |]+) \|", section(type(limits).__name__), re.MULTILINE)
    )
    assert described == {each.name: f"{getattr(limits, each.name):.15g}" for each in fields(limits)}


@pytest.mark.parametrize(("limits", "page"), [(IngestLimits, INGEST), (OutputLimits, OUTPUT)])
def test_every_limit_of_ingests_and_outputs_is_described(limits: Any, page: str) -> None:
    options = {"private", "files", "ports"}
    assert [
        each.name for each in fields(limits) if f"`{each.name}`" not in page and each.name not in options
    ] == []


def section(name: str) -> str:
    """The table of these limits."""
    return LIVE.split(f"| `{name}` |", 1)[1].split("\n\n", 1)[0]
