"""The whole measurement of one device: steps by number of streams, one stream alone, paced streams, and a peer.

    cuestream bench gpu --size small --size medium --json gpu.json

Weights are random unless a package is named: what they say changes no time.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from cuestream.gpu.crowd import paced_by
from cuestream.gpu.device import free_gb
from cuestream.gpu.fidelity import fidelity
from cuestream.gpu.peers import peer_rows
from cuestream.gpu.report import LeftOut, Report
from cuestream.gpu.setting import DTYPES, Setting, model_of
from cuestream.gpu.steps import alone, playing, step_rows
from cuestream.gpu.streams import paced, tick_kernels
from engine.backends.lockstep import LockstepBackend
from engine.backends.torch import TorchBackend
from engine.errors import NoRoom
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
    device, engine = torch.device(plan.device), _Engine(setting, plan.device)

    def say(what: str) -> None:
        print(f"  {time.perf_counter() - began:6.1f} s  {what}", flush=True)
        keep(report)

    @contextmanager
    def part(what: str, streams: int = 0) -> Iterator[None]:
        """In room for so many. What does not fit the device's memory is left out, and the rest is measured."""
        if streams:
            engine.make_room(streams)
        free = free_gb(device)
        try:
            yield
        except (NoRoom, torch.OutOfMemoryError) as error:
            report.left_out.append(LeftOut(what, _why(error, report, free)))
            say(f"not measured: {what}: {report.left_out[-1].why}")

    with part("the model"):
        plain = TorchBackend(model_of(setting.size, plan.device).to(device)) if plan.compared else None
        spec = engine.backend.spec
    if report.left_out:
        return report
    say(f"{setting}: the model is there")
    if plain is not None:
        with part("the distance to float32"):
            report.fidelity = fidelity(str(setting), plain, engine.backend, plan.compared)
            say(f"{report.fidelity}")
        del plain
    if plan.profile and plan.counts:
        report.kernels = {min(plan.counts): None, max(plan.counts): None}
    for count in sorted(plan.counts):
        with part(f"a step of {count}", count):
            for row in step_rows(engine.backend, [count], copy_gb_s, report.kernels):
                report.steps.append(row)
                say(
                    f"{row.streams} streams: {row.ms:.3f} ms a step, {row.gb_s:.0f} GB/s, {row.of_copy:.0%} of a copy"
                )
    if plan.steps:
        with part("one stream alone", 1):
            report.alone = alone(engine.backend, plan.steps, copy_gb_s)
            say(f"alone: {report.alone}")
            if plan.profile:
                report.playing = playing(engine.backend, 200)
                say("the kernels of a second of it")
    policy = StreamPolicy(context_s=plan.context_s)
    for count in plan.listeners:
        several = plan.processes > 1
        if several:
            engine.leave()
        with part(f"{count} listeners", 0 if several else count):
            if several:
                heard = paced_by(plan.processes, setting, plan.device, count, plan.seconds, policy)
            else:
                heard = paced(engine.backend, count, plan.seconds, policy)
            report.streams.append(heard)
            say(f"{heard}")
            if plan.profile:
                engine.make_room(count)
                report.ticks[count] = tick_kernels(engine.backend, count, policy)
                say(f"the kernels of a tick of {count}")
        if report.streams and report.streams[-1].c100 < 0.5:
            break
    if peer:
        engine.leave()
        with part("transformers MusicGen"):
            for peer_row in peer_rows(spec, device, DTYPES[setting.dtype]):
                report.peers.append(peer_row)
                say(f"{peer_row}")
        found = [row.p50_ms for row in report.peers if not row.failed]
        if found and report.alone:
            report.times_peer = min(found) / report.alone.step_p50_ms
    keep(report)
    return report


class _Engine:
    """What is measured. It is made when it is asked for, and leaves the device to others who want all of it."""

    def __init__(self, setting: Setting, device: str) -> None:
        self._setting, self._device = setting, device
        self._backend: LockstepBackend | None = None

    @property
    def backend(self) -> LockstepBackend:
        if self._backend is None:
            model = model_of(self._setting.size, self._device)
            self._backend = self._setting.backend(model, self._device, 1)
        return self._backend

    def make_room(self, streams: int) -> None:
        """For so many, once the caches of the measurement before are given back; what broke off has them until it is
        collected."""
        gc.collect()
        self.backend.forget()
        self.backend.places = streams
        _give_back()

    def leave(self) -> None:
        self._backend = None
        gc.collect()
        _give_back()


def _give_back() -> None:
    """What nobody uses, to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _why(error: Exception, report: Report, free: float | None) -> str:
    said = error.message if isinstance(error, NoRoom) else str(error).splitlines()[0]
    held = [f"a stream takes {row.mb_a_stream:.0f} MB" for row in report.steps[:1]]
    left = [] if free is None else [f"{free:.1f} GB were free"]
    return "; ".join([said, *held, *left])
