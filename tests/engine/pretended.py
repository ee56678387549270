"""A CUDA device that is not there: its tensors lie on the host, and its work is done as late as CUDA may do it.

What a program can see of CUDA is kept: a tensor of the device and one of the host do not meet but in a copy; work waits in a
queue until the host waits for the device, so that what is read too early is wrong, and a pinned buffer that is written too early
is what the device reads; a captured graph does again, with the same memory, what was queued while it was made, and while it is
made nothing waits for the device or copies memory that is not pinned. Kernels are their plain twins (`kernels/`), each queued as
one launch. Streams are one queue: whether one waits for another is not seen here, nor how long anything takes.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from engine.backends import captured, gpus
from kernels import (
    attention,
    attention_triton,
    columns,
    columns_triton,
    linear,
    linear_triton,
    norms,
    norms_triton,
    sampling,
    sampling_triton,
)

CUDA = torch.device("cuda:0")
ATEN = torch.ops.aten
ALLOCATES = {ATEN.empty.memory_format, ATEN.empty_strided.default, ATEN.empty_like.default}
ALLOCATES |= {ATEN.new_empty.default, ATEN.new_empty_strided.default}
WHOLE = {ATEN.linear.default, ATEN.lstm.input}
"""Of operators that consist of others, those that are one here: they are asked often, and their parts are many."""
SHAPES: dict[Any, Any] = {}
"""Of what operators answer, by what they are given."""


class There(Tensor):
    """A tensor of the device. held: the numbers, on the host, which nothing but queued work may touch."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        with torch.inference_mode(False):
            made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls,
                held.shape,
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=CUDA,
            )
        made.held = held
        return made  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a device that is no longer pretended")

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert a tensor of cuda:0 to numpy; copy it to the host first")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({list(self.shape)}, {self.dtype})"


class Device(TorchDispatchMode):
    """While it is entered, `cuda` is this device."""

    def __init__(self) -> None:
        super().__init__()
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE  # or `device="cuda"` would look for a driver
        self._queue: list[Callable[[], None]] = []
        self._queued = 0
        self._recording: list[Callable[[], None]] | None = None
        self._pinned = set[int]()
        self.waits = 0
        """How often the host waited."""
        self.lost = ""
        """What every call that waits for the device is answered once it is lost."""

    # --- what is queued, and when it is done

    def queue(self, work: Callable[[], None]) -> None:
        if self._recording is not None:
            self._recording.append(work)
        else:
            self._queue.append(work)
            self._queued += 1

    def wait(self, until: int | None = None) -> None:
        """For all that is queued, or for so much of what ever was."""
        if self._recording is not None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        if self.lost:
            raise torch.AcceleratorError(self.lost)
        self.waits += 1
        count = len(self._queue) if until is None else until - (self._queued - len(self._queue))
        ready, self._queue = self._queue[: max(count, 0)], self._queue[max(count, 0) :]
        with torch.utils._python_dispatch._disable_current_modes(), torch.inference_mode():
            for work in ready:
                work()

    @property
    def queued(self) -> int:
        return self._queued

    @property
    def recording(self) -> bool:
        return self._recording is not None

    @contextmanager
    def recorded(self, into: list[Callable[[], None]]) -> Iterator[None]:
        self.wait()  # as `torch.cuda.graph` does
        self._recording = into
        try:
            yield
        finally:
            self._recording = None

    # --- operators

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operator = _operator(func)
        if operator.is_composed:
            with self:
                return func.decompose(*args, **kwargs)
        given = list(_tensors((args, kwargs)))
        target = kwargs.get("device")
        if func in (ATEN.copy_.default, ATEN._to_copy.default):
            return self._copied(func, args, kwargs)
        if not any(isinstance(x, There) for x in given) and (
            target is None or torch.device(target).type != "cuda"
        ):
            return self._on_host(func, args, kwargs)
        for x in given:
            if not isinstance(x, There) and x.dim():
                raise RuntimeError(
                    f"{func}: Expected all tensors to be on the same device, but found at least two, cuda:0 and cpu"
                )
        if func is ATEN._local_scalar_dense.default:
            self.wait()
            return args[0].held.item()
        waits = operator.shape_depends_on_numbers(given)
        if waits:
            self.wait()
        inner, named = _held(args), _held(kwargs)
        if waits or operator.is_view:
            return tree_map(_there, func(*inner, **named))
        written = operator.written(args, kwargs)
        if written or not operator.returns:
            self.queue(lambda: func(*inner, **named))
            return written[0] if operator.returns == 1 else tuple(written) if operator.returns else None
        return self._made(func, args, kwargs)

    def _made(self, func: Any, args: Any, kwargs: Any) -> Any:
        """New tensors, whose shapes are known at once and their numbers later."""
        key = (func, _described(args), _described(kwargs))
        if key not in SHAPES:
            SHAPES[key] = func(*_meta(args), **_meta(kwargs))
        answer = tree_map(lambda x: There(_poisoned(x)) if isinstance(x, Tensor) else x, SHAPES[key])
        if func not in ALLOCATES:
            inner, named = _held(args), _held(kwargs)
            places = [x.held for x in _tensors(answer)]

            def work() -> None:
                for place, x in zip(places, _tensors(func(*inner, **named)), strict=True):
                    place.copy_(x)

            self.queue(work)
        return answer

    def _on_host(self, func: Any, args: Any, kwargs: Any) -> Any:
        pinned = kwargs.pop("pin_memory", False)
        answer = func(*args, **kwargs)
        if pinned:
            storage = answer.untyped_storage()
            self._pinned.add(storage._cdata)
            weakref.finalize(storage, self._pinned.discard, storage._cdata)
        return answer

    def _is_pinned(self, x: Tensor) -> bool:
        return x.untyped_storage()._cdata in self._pinned

    def _copied(self, func: Any, args: Any, kwargs: Any) -> Any:
        """From and to the host."""
        if func is ATEN.copy_.default:
            to, source = args[0], args[1]
            non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
        else:
            source, non_blocking = args[0], kwargs.get("non_blocking", False)
            target = torch.device(kwargs.get("device") or source.device)
            shape = func(_meta(source), **{**_meta(kwargs), "device": torch.device("meta")})
            fresh = _poisoned(shape)
            to = There(fresh) if target.type == "cuda" else fresh
        if not isinstance(to, There) and not isinstance(source, There):
            return func(*args, **kwargs) if func is ATEN.copy_.default else to.copy_(source)
        read, write = _held(source), _held(to)
        if isinstance(to, There) and isinstance(source, There):
            self.queue(lambda: write.copy_(read))
            return to
        host = source if isinstance(to, There) else to
        if self.recording and not (non_blocking and self._is_pinned(host)):
            raise RuntimeError(
                "Cannot copy between CPU and CUDA tensors during CUDA graph capture unless the CPU tensor is pinned"
            )
        if host is source and not self._is_pinned(host):
            read = source.clone()
        self.queue(lambda: write.copy_(read))
        if not non_blocking:
            self.wait()
        return to

    def launch(self, twin: Callable[..., Any], answers: Any, *args: Any, **kwargs: Any) -> Any:
        """A kernel as its plain twin. answers: what its answers are like, on the device, or None."""
        inner, named = _held(args), _held(kwargs)
        places = [_held(x) for x in _tensors(answers)]

        def work() -> None:
            for place, x in zip(places, _tensors(twin(*inner, **named)), strict=False):
                if place is not x:
                    place.copy_(x)

        self.queue(work)
        return answers


def _there(x: Any) -> Any:
    return There(x) if isinstance(x, Tensor) else x


def _held(x: Any) -> Any:
    """The same of the host, wherever tensors are in it."""
    if isinstance(x, There):
        return x.held
    if isinstance(x, torch.device):
        return torch.device("cpu")
    if is_dataclass(x) and not isinstance(x, type):
        return replace(x, **{f.name: _held(getattr(x, f.name)) for f in fields(x)})
    if isinstance(x, dict):
        return {k: _held(v) for k, v in x.items() if k != "pin_memory"}
    if isinstance(x, tuple | list):
        return type(x)(_held(v) for v in x)
    return x


def _meta(x: Any) -> Any:
    def one(x: Any) -> Any:
        if isinstance(x, torch.device):
            return torch.device("meta")
        if isinstance(x, Tensor):
            return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
        return x

    if isinstance(x, dict):
        x = {k: v for k, v in x.items() if k != "pin_memory"}
    return tree_map(one, x)


def _described(x: Any) -> Any:
    """All that an answer's shape depends on, as a key."""
    if isinstance(x, Tensor):
        return x.shape, x.stride(), x.dtype
    if isinstance(x, dict):
        return tuple((k, _described(v)) for k, v in x.items())
    return tuple(map(_described, x)) if isinstance(x, tuple | list) else x


def _poisoned(like: Tensor) -> Tensor:
    made = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype)
    if made.is_floating_point():
        return made.fill_(torch.nan)
    return made.fill_(True if made.dtype == torch.bool else torch.iinfo(made.dtype).max)


def _tensors(x: Any) -> Iterator[Tensor]:
    """Of an operator's arguments, or of what it answers."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, tuple | list):
        for each in x:
            yield from _tensors(each)
    elif isinstance(x, dict):
        for each in x.values():
            yield from _tensors(each)


@dataclass(frozen=True, slots=True)
class _Operator:
    """What is asked of one each time. returns: how many; writes: names of arguments and their places."""

    is_composed: bool
    is_view: bool
    is_index: bool
    waits: bool
    returns: int
    writes: tuple[tuple[str, int], ...]

    def shape_depends_on_numbers(self, given: list[Tensor]) -> bool:
        """An operator for which the host waits; an index of whole numbers is none."""
        if self.is_index:
            return any(x.dtype == torch.bool for x in given[1:] if x.dim())
        return self.waits

    def written(self, args: Any, kwargs: Any) -> list[Any]:
        """Arguments that the operator writes and returns."""
        return [
            args[at] if at < len(args) else kwargs[name]
            for name, at in self.writes
            if at < len(args) or name in kwargs
        ]


@cache
def _operator(func: Any) -> _Operator:
    schema = func._schema
    return _Operator(
        is_composed=func not in WHOLE and func._can_decompose(),
        is_view=any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns),
        is_index=func in (ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default),
        waits=torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags,
        returns=len(schema.returns),
        writes=tuple(
            (a.name, at)
            for at, a in enumerate(schema.arguments)
            if a.alias_info is not None and a.alias_info.is_write
        ),
    )


# --- torch.cuda


class _Stream:
    def __init__(self, device: Device) -> None:
        self._device = device

    def wait_stream(self, other: _Stream) -> None: ...

    def synchronize(self) -> None:
        self._device.wait()


class _Event:
    def __init__(self, device: Device) -> None:
        self._device, self._at = device, 0

    def record(self) -> None:
        self._at = self._device.queued

    def synchronize(self) -> None:
        self._device.wait(self._at)


class _Graph:
    def __init__(self, device: Device) -> None:
        self._device = device
        self.work: list[Callable[[], None]] = []

    def pool(self) -> tuple[int, int]:
        return 0, 1

    def replay(self) -> None:
        for each in self.work:
            self._device.queue(each)


@contextmanager
def pretended() -> Iterator[Device]:
    """While it is entered, `cuda:0` is a device, and so says `torch.cuda`."""
    device, handles = Device(), count(1)
    stream = _Stream(device)
    fakes = {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "current_stream": lambda *_: stream,
        "Stream": lambda *_: stream,
        "stream": nullcontext,
        "Event": lambda *_: _Event(device),
        "CUDAGraph": lambda: _Graph(device),
        "graph": lambda graph, **_: device.recorded(graph.work),
        "graph_pool_handle": lambda: (0, next(handles)),
        "is_current_stream_capturing": lambda: device.recording,
        "get_device_properties": lambda *_: SimpleNamespace(multi_processor_count=4),
        "get_device_capability": lambda *_: (9, 0),
    }
    with pytest.MonkeyPatch.context() as patch, device:
        for name, fake in fakes.items():
            patch.setattr(torch.cuda, name, fake)
        patch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)
        patch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
        patch.setattr(gpus, "_check_triton", lambda: None)
        patch.setattr(torch.backends.cudnn, "is_acceptable", lambda _: False)
        for module, name, fake in _kernels(device):
            patch.setattr(module, name, fake)
        captured._aside.cache_clear()
        with _guarded():
            yield device
        captured._aside.cache_clear()


@contextmanager
def _guarded() -> Iterator[None]:
    """PyTorch makes a device the current one before it indexes a tensor of it; nothing is done for that, as for `meta`."""
    cuda, meta = 1, 14  # c10::DeviceType
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 20).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    before, guards[cuda] = guards[cuda], guards[meta]
    try:
        yield
    finally:
        guards[cuda] = before


def _kernels(device: Device) -> list[tuple[Any, str, Any]]:
    """Each as one launch of its twin."""

    def self_attention(qkv: Tensor, keys: Any, values: Any, place: Tensor, position: Tensor, **_: Any) -> Any:
        lanes, segments, rows, _three, heads, width = qkv.shape
        answer = qkv.new_empty(lanes, segments, rows, heads * width)
        return device.launch(attention.self_attention_plain, answer, qkv, keys, values, place, position)

    def cross_attention(q: Tensor, *args: Any, **_: Any) -> Any:
        return device.launch(attention.cross_attention_plain, torch.empty_like(q).flatten(3), q, *args)

    def write_condition(*args: Any, **_: Any) -> None:
        device.launch(attention.write_condition_plain, None, *args)

    def product(x: Tensor, weight: Any, norm: bool, residual: Any, gelu: bool, out: Tensor, **_: Any) -> Any:
        return device.launch(linear.linear_plain, out, x, weight, norm, residual, gelu, out.dtype, out)

    def add_norm(x: Tensor, y: Tensor | None, dtype: torch.dtype) -> Any:
        answer = torch.empty_like(x, dtype=dtype)
        device.launch(norms.add_norm_plain, (x, answer), x, y, dtype)
        return x, answer

    def rows_of(tokens: Tensor, position: Tensor, table: Tensor, positions: Tensor, rows: int) -> Any:
        lanes, segments, _ = tokens.shape
        answer = torch.empty(lanes * segments * rows, table.shape[1], device=CUDA)
        return device.launch(columns.rows_of_plain, answer, tokens, position, table, positions, rows)

    def advance(*args: Any) -> None:
        device.launch(columns.advance_plain, None, *args)

    def draw(logits: Tensor, *args: Any) -> Any:
        answer = torch.empty(logits.shape[0], logits.shape[3], dtype=torch.int64, device=CUDA)
        return device.launch(sampling.draw_plain, answer, logits, *args)

    return [
        (attention_triton, "self_attention", self_attention),
        (attention_triton, "cross_attention", cross_attention),
        (attention_triton, "write_condition", write_condition),
        (linear_triton, "linear", product),
        (norms_triton, "add_norm", add_norm),
        (columns_triton, "rows_of", rows_of),
        (columns_triton, "advance", advance),
        (sampling_triton, "draw", draw),
    ]
