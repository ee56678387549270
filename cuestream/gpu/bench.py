"""The whole measurement of one device: steps by number of streams, one stream alone, paced streams, and a peer.

    cuestream bench gpu --size small --size medium --json gpu.json

Weights are random unless a package is named: what they say changes no time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch

from cuestream.gpu.crowd import paced_by
from cuestream.gpu.fidelity import fidelity
from cuestream.gpu.peers import peer_rows
from cuestream.gpu.report import Report
from cuestream.gpu.setting import DTYPES, Setting, model_of
from cuestream.gpu.steps import alone, playing, step_rows
from cuestream.gpu.streams import paced, tick_kernels
from engine.backends.lockstep import LockstepBackend
from engine.backends.torch import TorchBackend
from engine.spec import StreamPolicy


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured of each setting; see `cuestream.gpu.command`."""

    device: str
    counts: Sequence[int]
    listeners: Sequence[int]
    seconds: float
    steps: int
    profile: bool
    compared: int
    processes: int
    context_s: float

    @property
    def places(self) -> int:
        return max([1, *self.counts, *self.listeners])


def measure(
    setting: Setting,
    plan: Plan,
    copy_gb_s: float,
    peer: bool,
    keep: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Everything about one setting. keep: is given what is known so far behind each part; time may be cut off."""
    report = Report(setting.size, str(setting))
    began = time.perf_counter()

    def say(what: str) -> None:
        print(f"  {time.perf_counter() - began:6.1f} s  {what}", flush=True)
        keep(report)

    device = plan.device
    model = model_of(setting.size, device)
    plain = TorchBackend(deepcopy(model).to(device)) if plan.compared else None
    backend = setting.backend(model, device, plan.places)
    say(f"{setting}: the model is there")
    if plain is not None:
        report.fidelity = fidelity(str(setting), plain, backend, plan.compared)
        say(f"{report.fidelity}")
        del plain
        _forget(backend)
    if plan.counts:
        if plan.profile:
            report.kernels = {min(plan.counts): None, max(plan.counts): None}
        for row in step_rows(backend, plan.counts, copy_gb_s, report.kernels):
            report.steps.append(row)
            say(
                f"{row.streams} streams: {row.ms:.3f} ms a step, {row.gb_s:.0f} GB/s, {row.of_copy:.0%} of a copy"
            )
        _forget(backend)
    if plan.steps:
        report.alone = alone(backend, plan.steps, copy_gb_s)
        say(f"alone: {report.alone}")
        if plan.profile:
            report.playing = playing(backend, 200)
            say("the kernels of a second of it")
        _forget(backend)
    for count in plan.listeners:
        policy = StreamPolicy(context_s=plan.context_s)
        if plan.processes > 1:
            heard = paced_by(plan.processes, setting, device, count, plan.seconds, policy)
        else:
            heard = paced(backend, count, plan.seconds, policy)
        _forget(backend)
        report.streams.append(heard)
        say(f"{heard}")
        if plan.profile:
            report.ticks[count] = tick_kernels(backend, count, policy)
            say(f"the kernels of a tick of {count}")
            _forget(backend)
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
    keep(report)
    return report


def _forget(backend: LockstepBackend) -> None:
    """Give back the caches of a measurement."""
    backend.forget()
    if backend.device.type == "cuda":
        torch.cuda.empty_cache()
