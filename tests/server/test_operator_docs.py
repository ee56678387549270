"""The operator's pages name every metric there is and every limit with its default."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.ingest.limits import IngestLimits
from server.limits import OPTIONS, PARTS
from server.metrics import Metrics
from server.output.limits import OutputLimits
from server.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
LIVE, INGEST, OUTPUT = (
    (DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("live", "ingest", "output")
)
SERIES = re.compile(r"_(bucket|count|sum|created)$")


def metrics() -> set[str]:
    """As they are asked for."""
    names = set()
    for family in Metrics().registry.collect():
        names.add(family.name + ("_total" if family.type == "counter" else ""))
    return names


def test_every_metric_is_described_and_none_besides() -> None:
    told = set(re.findall(r"`(cuestream_[a-z_]+)", LIVE + INGEST + OUTPUT))
    assert {SERIES.sub("", name) for name in told} == metrics()


def series() -> set[str]:
    """As queries ask for them, of a server that nothing happened to."""
    parts = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    families = Metrics().registry.collect()
    return {family.name + part for family in families for part in parts[family.type]}


def test_the_dashboard_and_the_alarms_ask_for_what_there_is() -> None:
    panels = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())["panels"]
    (group,) = yaml.safe_load((EXAMPLES / "prometheus-rules.yml").read_text())["groups"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    asked += [rule["expr"] for rule in group["rules"]]
    labels = dict(re.findall(r"`(cuestream_[a-z_]+)\{([a-z]+)\}`", LIVE + INGEST + OUTPUT))
    for query in asked:
        names = re.findall(r"cuestream_[a-z_]+", query)
        assert names or query.startswith('up{job="cuestream"}')
        assert set(names) <= series(), query
        by = {label for found in re.findall(r"by \((.*?)\)", query) for label in found.split(", ")}
        assert by - {"instance", "le"} <= {labels.get(name) for name in names}, query


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool (Debian: prometheus)")
def test_alarms_fire_while_their_causes_last_and_end_after_them() -> None:
    """By Prometheus's own test of rules."""
    told = subprocess.run(
        ["promtool", "test", "rules", Path(__file__).with_name("alarms.yml")], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr


LABELS = {
    "sessions_ended": "asked idle session_limit left expired evicted stopped generator_failed internal",
    "sessions_refused": "capacity hanging draining restarting",
    "connections_dropped": "slow half_open connections unread",
    "rate_limited": "connections sessions tokens",
    "inbound_frames": "taken shown refused too_many dropped ignored",
    "protocol_errors": "bad_request invalid_json invalid_utf8 invalid_media message_too_large unexpected_message "
    "bad_handshake unsupported_codec decode_failed frame_too_large rate_limited unauthorized forbidden "
    "session_not_found session_expired recording_off recording_refused",
    "websocket_closes": "1000 1001 1003 1005 1006 1007 1008 1009 1011 1012 1013 4400 4401 4403 4404 4408 4409 4413 4429 "
    "4440 4503 other",
    "resumes": "resumed bad_request session_expired session_not_found",
    "authentication_failures": "no_token wrong_token",
    "webrtc_peers_ended": "not_connected failed lost left closed superseded over refused stopped",
    "webrtc_offers_refused": "400 422 503",
    "webrtc_packets_left_out": "source rtp rtcp sctp",
    "recordings_ended": "asked session_ended length quota disk failed",
    "recordings_refused": "off running at_once not_started",
    "recording_films_broken": "not_started behind hung broke failed",
    "ingest_attempts": "ended failed forbidden",
    "ingests_refused": "at_once forbidden unknown",
    "outputs_ended": "asked session_ended length quota disk failed",
    "outputs_refused": "bad_request output_off output_forbidden output_refused",
    "checkpoints": "written failed no_room restored expired damaged other_model",
}


def test_what_is_counted_begins_with_0_so_that_the_first_time_is_seen() -> None:
    """The fixture of a server sees to it that a test counts nothing under another label."""
    counted = re.findall(
        r'^cuestream_(\w+)_total\{\w+="(\w+)"\} 0\.0$', Metrics().page().decode(), re.MULTILINE
    )
    found = {name: sorted(value for of, value in counted if of == name) for name, _ in counted}
    assert found == {name: sorted(values.split()) for name, values in LABELS.items()}


@pytest.mark.parametrize("part", ["door", "decoders", "recording", "webrtc"])
def test_every_limit_of_the_server_is_described_with_its_default(part: str) -> None:
    limits = getattr(Settings(), PARTS[part])
    described = dict(re.findall(r"^\| `([a-z_]+)` \| ([^ |]+) \|", section(part), re.MULTILINE))
    assert described == {each.name: f"{getattr(limits, each.name):.15g}" for each in fields(limits)}


@pytest.mark.parametrize(("limits", "page"), [(IngestLimits, INGEST), (OutputLimits, OUTPUT)])
def test_every_limit_of_ingests_and_outputs_is_described(limits: Any, page: str) -> None:
    options = {"private", "files", "ports"}
    assert [
        each.name for each in fields(limits) if f"`{each.name}`" not in page and each.name not in options
    ] == []


def section(part: str) -> str:
    """The table of its limits."""
    return LIVE.split(f"| `{part}.` |", 1)[1].split("\n\n", 1)[0]


def test_a_limit_whose_option_is_named_is_the_one_that_has_it() -> None:
    """In brackets behind its name or its default, on any of the pages."""
    told = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", LIVE, re.MULTILINE)
    with_option = {row[0].strip("`") for row in told if re.search(r"\(`--[a-z-]+`\)", " ".join(row))}
    own = {name.rpartition(".")[2] for name in OPTIONS if not name.startswith("output.")} - {"session_s"}
    assert own <= with_option
