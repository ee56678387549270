"""The whole measurement of one device: steps by number of streams, one stream alone, paced streams, and a peer.

    cuestream bench gpu --size small --size medium --json gpu.json

Weights are random unless a package is named: what they say changes no time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from rich.table import Table

from cuestream.gpu.crowd import paced_by
from cuestream.gpu.device import Device
from cuestream.gpu.fidelity import FidelityRow, fidelity
from cuestream.gpu.peers import PeerRow, peer_rows
from cuestream.gpu.profile import KernelRow
from cuestream.gpu.setting import DTYPES, Setting, model_of
from cuestream.gpu.steps import Alone, Profiled, StepRow, alone, playing, step_rows
from cuestream.gpu.streams import StreamsRow, paced
from engine.backends.lockstep import LockstepBackend
from engine.backends.torch import TorchBackend
from engine.spec import StreamPolicy


@dataclass(slots=True)
class Report:
    """Of one model in one setting."""

    model: str
    setting: str
    steps: list[StepRow] = field(default_factory=list)
    kernels: Profiled = field(default_factory=dict)
    """Of a step, by number of streams: the longest, and the microseconds by the clock."""
    playing: tuple[list[KernelRow], float] | None = None
    """Of a second of one whole stream."""
    alone: Alone | None = None
    fidelity: FidelityRow | None = None
    streams: list[StreamsRow] = field(default_factory=list)
    peers: list[PeerRow] = field(default_factory=list)
    times_peer: float | None = None
    """Our step beside the quickest of the peer's ways."""


def measure(
    setting: Setting,
    device: str,
    counts: Sequence[int],
    listeners: Sequence[int],
    seconds: float,
    steps: int,
    copy_gb_s: float,
    peer: bool,
    profile: bool,
    compared: int,
    processes: int,
    context_s: float,
) -> Report:
    """Everything about one setting."""
    report = Report(setting.size, str(setting))
    began = time.perf_counter()

    def say(what: str) -> None:
        print(f"  {time.perf_counter() - began:6.1f} s  {what}", flush=True)

    model = model_of(setting.size, device)
    plain = TorchBackend(deepcopy(model).to(device)) if compared else None
    places = max([1, *counts, *listeners])
    backend = setting.backend(model, device, places)
    say(f"{setting}: the model is there")
    if plain is not None:
        report.fidelity = fidelity(str(setting), plain, backend, compared)
        say(f"{report.fidelity}")
        del plain
        _forget(backend)
    if counts:
        if profile:
            report.kernels = {min(counts): None, max(counts): None}
        for row in step_rows(backend, counts, copy_gb_s, report.kernels):
            report.steps.append(row)
            say(
                f"{row.streams} streams: {row.ms:.3f} ms a step, {row.gb_s:.0f} GB/s, {row.of_copy:.0%} of a copy"
            )
        _forget(backend)
    if steps:
        report.alone = alone(backend, steps, copy_gb_s)
        say(f"alone: {report.alone}")
        if profile:
            report.playing = playing(backend, 200)
        _forget(backend)
    for count in listeners:
        policy = StreamPolicy(context_s=context_s)
        if processes > 1:
            heard = paced_by(processes, setting, device, count, seconds, policy)
        else:
            heard = paced(backend, count, seconds, policy)
        _forget(backend)
        report.streams.append(heard)
        say(f"{heard}")
        if heard.c100 < 0.5:
            break
    if peer:
        spec, dtype = backend.spec, DTYPES[setting.dtype]
        del backend, model
        torch.cuda.empty_cache()
        for peer_row in peer_rows(spec, torch.device(device), dtype):
            report.peers.append(peer_row)
            say(f"{peer_row}")
        found = [row.p50_ms for row in report.peers if not row.failed]
        if found and report.alone:
            report.times_peer = min(found) / report.alone.step_p50_ms
    return report


def _forget(backend: LockstepBackend) -> None:
    """Give back the caches of a measurement."""
    backend.forget()
    if backend.device.type == "cuda":
        torch.cuda.empty_cache()


def tables(reports: Sequence[Report]) -> Iterator[Table]:
    kinds: tuple[tuple[str, Any], ...] = (
        ("Steps of streams that share them", lambda r: r.steps),
        ("One stream alone", lambda r: [r.alone] if r.alone else []),
        ("Beside float32", lambda r: [r.fidelity] if r.fidelity else []),
        ("Paced streams", lambda r: r.streams),
        ("transformers MusicGen", lambda r: r.peers),
    )
    for title, rows in kinds:
        for report in reports:
            if found := rows(report):
                yield _table(f"{title}: {report.setting}", found)
    for report in reports:
        for what, kernels in (*report.kernels.items(), ("a second of one stream", report.playing)):
            if kernels is not None:
                yield _table(
                    f"Kernels, {what}: {report.setting}; {kernels[1]:.0f} us by the clock", kernels[0]
                )


def _table(title: str, rows: Sequence[Any]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in asdict(rows[0]):
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(_cell(value) for value in asdict(row).values()))
    return table


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def as_json(device: Device, reports: Sequence[Report], about: dict[str, str]) -> str:
    return json.dumps({"device": asdict(device), **about, "reports": [asdict(r) for r in reports]}, indent=1)
