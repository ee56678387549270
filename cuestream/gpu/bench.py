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
from cuestream.gpu.report import LeftOut, Report, line
from cuestream.gpu.setting import DTYPES, Setting, model_of
from cuestream.gpu.steps import alone, playing, step_rows
from cuestream.gpu.streams import StreamsRow, paced, tick_kernels
from engine.backends.lockstep import LockstepBackend
from engine.backends.torch import TorchBackend
from engine.errors import NoRoom
from engine.spec import StreamPolicy

IN_TIME = 0.5
"""Of listeners who hear no gap: where fewer do, larger numbers are not tried."""


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
    one = _Measurement(setting, plan, copy_gb_s, keep)
    if one.begin():
        one.steps()
        one.alone()
        one.listeners()
        if peer:
            one.peer()
        keep(one.report)
    return one.report


class _Measurement:
    """Of one setting, part by part, into a report."""

    def __init__(
        self, setting: Setting, plan: Plan, copy_gb_s: float, keep: Callable[[Report], None]
    ) -> None:
        self._setting, self._plan, self._copy_gb_s, self._keep = setting, plan, copy_gb_s, keep
        self._began = time.perf_counter()
        self._device, self._engine = torch.device(plan.device), _Engine(setting, plan.device)
        self.report = Report(setting.size, str(setting))

    def begin(self) -> bool:
        """Whether the model fits. Its distance to float32 is measured before anything else needs the memory."""
        plan, setting = self._plan, self._setting
        with self._part("the model"):
            plain = (
                TorchBackend(model_of(setting.size, plan.device).to(self._device)) if plan.compared else None
            )
            self._spec = self._engine.backend.spec
        if self.report.left_out:
            return False
        self._say(f"{setting}: the model is there")
        if plain is not None:
            with self._part("the distance to float32"):
                found = fidelity(str(setting), plain, self._engine.backend, plan.compared)
                self.report.fidelity = found
                self._say(line(found))
        return True

    def steps(self) -> None:
        counts, report = sorted(self._plan.counts), self.report
        if self._plan.profile and counts:
            report.kernels = {counts[0]: None, counts[-1]: None}
        for count in counts:
            with self._part(f"a step of {count}", count):
                for row in step_rows(self._engine.backend, [count], self._copy_gb_s, report.kernels):
                    report.steps.append(row)
                    self._say(line(row))

    def alone(self) -> None:
        if not self._plan.steps:
            return
        with self._part("one stream alone", 1):
            self.report.alone = alone(self._engine.backend, self._plan.steps, self._copy_gb_s)
            self._say(f"alone: {line(self.report.alone)}")
            if self._plan.profile:
                self.report.playing = playing(self._engine.backend, 200)
                self._say("the kernels of a second of it")

    def listeners(self) -> None:
        plan, report = self._plan, self.report
        policy, several = StreamPolicy(context_s=plan.context_s), plan.processes > 1
        for count in plan.listeners:
            if several:
                self._engine.leave()
            with self._part(f"{count} listeners", 0 if several else count):
                report.streams.append(self._heard(count, policy))
                self._say(line(report.streams[-1]))
                if plan.profile:
                    self._engine.make_room(count)
                    report.ticks[count] = tick_kernels(self._engine.backend, count, policy)
                    self._say(f"the kernels of a tick of {count}")
            if report.streams and report.streams[-1].c100 < IN_TIME:
                break

    def _heard(self, count: int, policy: StreamPolicy) -> StreamsRow:
        plan = self._plan
        if plan.processes > 1:
            return paced_by(plan.processes, self._setting, plan.device, count, plan.seconds, policy)
        return paced(self._engine.backend, count, plan.seconds, policy)

    def peer(self) -> None:
        self._engine.leave()
        with self._part("transformers MusicGen"):
            for row in peer_rows(self._spec, self._device, DTYPES[self._setting.dtype]):
                self.report.peers.append(row)
                self._say(line(row))

    @contextmanager
    def _part(self, what: str, streams: int = 0) -> Iterator[None]:
        """In room for so many. What does not fit the device's memory is left out, and the rest is measured."""
        if streams:
            self._engine.make_room(streams)
        free = free_gb(self._device)
        try:
            yield
        except (NoRoom, torch.OutOfMemoryError) as error:
            why = _why(error, self.report, free)
            self.report.left_out.append(LeftOut(what, why))
            self._say(f"not measured: {what}: {why}")

    def _say(self, what: str) -> None:
        print(f"  {time.perf_counter() - self._began:6.1f} s  {what}", flush=True)
        self._keep(self.report)


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
