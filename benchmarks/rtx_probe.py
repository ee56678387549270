"""Does TensorRT-RTX run on this GPU? `python benchmarks/rtx_probe.py WHEEL MODEL... -o rtx.json` asks it, in 90 s at most.

Needs onnxruntime (the plain CPU distribution, 1.25 or later), numpy, and the wheel onnxruntime-ep-nv-tensorrt-rtx-cu13, as a
file or unpacked; nothing of this repository but exported models. Graphs of ONNX's own operators alone are tried of each model:
vision, the codec, and the step where the model was exported with `--operators standard`:

    pip download --no-deps -d wheels onnxruntime-ep-nv-tensorrt-rtx-cu13
    cuestream random tiny -o build/standard --operators standard
    python benchmarks/rtx_probe.py wheels/*.whl models/random-tiny build/standard -o rtx.json

Every try is a process of its own with a time limit, so that a crash or a hang is an answer like any other. All of them are
printed and written word for word.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = "onnxruntime_ep_nv_tensorrt_rtx"
GRAPHS = ("vision", "codec_upsample", "codec_oscillator", "step")
STANDARD = {"", "ai.onnx"}
TOTAL_S, TRY_S = 90.0, 30.0
RUNS = 50
DRIVER = "libcuda.so.1"
SIZES = {"frames": 2, "streams": 1, "rows": 2, "positions": 64, "held": 100, "padded": 21, "read": 64}
"""What symbolic dimensions are set to."""
KINDS = {"uint8": np.uint8, "int64": np.int64, "float": np.float32, "float16": np.float16}
SOURCES = {  # of cuDeviceGetAttribute
    "compute_capability_major": 75,
    "compute_capability_minor": 76,
}
MARK = "answer: "
"""What a try's answer stands behind in what it prints."""


# --- tries: each runs in a process of its own and returns what can be written as JSON


def driver(wheel: Path) -> Any:
    """What the NVIDIA driver says, without any other library."""
    cuda = ctypes.CDLL(DRIVER)
    count, version, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    said: dict[str, Any] = {"cuInit": cuda.cuInit(0)}
    cuda.cuDriverGetVersion(ctypes.byref(version))
    cuda.cuDeviceGetCount(ctypes.byref(count))
    cuda.cuDeviceGetName(name, 256, 0)
    said |= {"cuda": version.value, "devices": count.value, "name": name.value.decode()}
    for what, number in SOURCES.items():
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), number, 0)
        said[what] = value.value
    return said


def libraries(wheel: Path) -> Any:
    """Whether each library of the wheel can be loaded, in the order in which they need each other."""
    sys.path.insert(0, str(wheel))
    __import__(PACKAGE)
    found = {}
    for path in sorted((wheel / PACKAGE).glob("*.so*")):
        try:
            ctypes.CDLL(str(path))
            found[path.name] = "loaded"
        except OSError as error:
            found[path.name] = str(error)
    return found


def targets(wheel: Path) -> Any:
    """The compute capabilities that the wheel's own header names."""
    header = (wheel / PACKAGE / "tensorrt_rtx_provider_options.h").read_text("utf-8")
    named = re.search(r"kTargetSMValues\[\] = \{(.*?)\}", header)
    return {
        "named": re.findall(r'"(sm\d+)"', named.group(1)) if named else None,
        "at_least": re.findall(r"compute_capability >= (\d+)", header),
    }


def devices(wheel: Path) -> Any:
    """What ONNX Runtime lists once the plugin is registered; the plugin's own devices are marked."""
    runtime, own = _registered(wheel)
    return [
        {
            "provider": device.ep_name,
            "vendor": device.ep_vendor,
            "kind": str(device.device.type),
            "device": device.device.device_id,
            "metadata": dict(device.device.metadata),
            "provider_metadata": dict(device.ep_metadata),
            "own": device.ep_name == own,
        }
        for device in runtime.get_ep_devices()
    ]


def graph(wheel: Path, path: Path) -> Any:
    """A graph on the plugin beside the same one on the CPU: who took which nodes, how far apart, how fast."""
    runtime, own = _registered(wheel)
    plain = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = _inputs(plain)
    expected = plain.run(None, given)
    chosen = [device for device in runtime.get_ep_devices() if device.ep_name == own]
    if not chosen:
        raise RuntimeError(f"{own} lists no device, so there is none to give the graph to")
    options = runtime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_provider_for_devices(chosen[:1], {})
    began = time.perf_counter()
    session = runtime.InferenceSession(str(path), options)
    opened = time.perf_counter() - began
    began = time.perf_counter()
    got = session.run(None, given)
    first = time.perf_counter() - began
    names = [output.name for output in session.get_outputs()]
    return {
        "providers": session.get_providers(),
        "nodes": {
            part.ep_name: len(part.get_nodes()) for part in session.get_provider_graph_assignment_info()
        },
        "opened_s": opened,
        "first_run_s": first,
        "ms": _timed(lambda: session.run(None, given)),
        "cpu_ms": _timed(lambda: plain.run(None, given)),
        "apart": {
            n: float(np.abs(a.astype(np.float64) - b).max())
            for n, a, b in zip(names, got, expected, strict=True)
        },
        "largest": {n: float(np.abs(b).max()) for n, b in zip(names, expected, strict=True)},
    }


def _registered(wheel: Path) -> tuple[Any, str]:
    """onnxruntime with the plugin, and the plugin's name."""
    import onnxruntime

    sys.path.insert(0, str(wheel))
    plugin = __import__(PACKAGE)
    own = plugin.get_ep_name()
    onnxruntime.register_execution_provider_library(own, plugin.get_library_path())
    return onnxruntime, own


def _inputs(session: Any) -> dict[str, Any]:
    """Of each input, seeded values that a model could be given."""
    rng, given = np.random.default_rng(0), {}
    for wanted in session.get_inputs():
        shape = [SIZES[d] if isinstance(d, str) else d for d in wanted.shape]
        kind = np.dtype(KINDS[wanted.type.removeprefix("tensor(").removesuffix(")")])
        whole = np.issubdtype(kind, np.integer)
        drawn = rng.integers(1, 3, shape) if whole else rng.standard_normal(shape)
        given[wanted.name] = np.asarray(drawn, kind)
    return given


def _timed(call: Callable[[], Any]) -> dict[str, float]:
    """p50 and p99 in ms."""
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return {f"p{q}": 1000 * float(np.percentile(seconds, q)) for q in (50, 99)}


# --- running them


TRIES: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (driver, libraries, targets, devices, graph)
}


def attempt(left_s: float, name: str, wheel: Path, *paths: Path) -> dict[str, Any]:
    """Run one try in a process of its own. Never raises for what it does."""
    command = [sys.executable, __file__, "--try", name, str(wheel), *map(str, paths)]
    about: dict[str, Any] = {"try": name, **({"graph": str(paths[0])} if paths else {})}
    limit = min(TRY_S, left_s)
    if limit <= 1:
        return about | {"ok": False, "error": f"not tried: {TOTAL_S:g} s were over"}
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, check=False, encoding="utf-8"
        )
    except subprocess.TimeoutExpired as late:
        said = late.stderr.decode(errors="replace") if isinstance(late.stderr, bytes) else late.stderr or ""
        return about | {"ok": False, "error": f"no answer in {limit:.0f} s", "stderr": said[-4000:]}
    about["seconds"] = round(time.monotonic() - began, 3)
    answers = [line.removeprefix(MARK) for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode == 0 and answers:
        return about | {"ok": True, "answer": json.loads(answers[-1])}
    ended = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
    lines = done.stderr.strip().splitlines()
    return about | {
        "ok": False,
        "error": lines[-1] if lines else ended,
        "ended": ended,
        "stderr": done.stderr[-4000:],
    }


def standard_graphs(models: list[Path]) -> list[Path]:
    """Graphs of the models that are made of ONNX's own operators, read without a library for ONNX."""
    found = [folder / f"{name}.onnx" for folder in models for name in GRAPHS]
    return [path for path in found if path.is_file() and b"com.microsoft" not in path.read_bytes()]


def conclusion(tries: list[dict[str, Any]]) -> str:
    """The question's answer, from what was seen alone."""
    seen = {t["try"]: t for t in tries if t["try"] != "graph"}
    graphs = [t for t in tries if t["try"] == "graph"]
    if not seen["driver"]["ok"]:
        return f"cannot be said here: {seen['driver']['error']} (no NVIDIA driver)"
    about = seen["driver"]["answer"]
    device = f"{about['name']} ({about['compute_capability_major']}.{about['compute_capability_minor']})"
    ran = [t for t in graphs if t["ok"] and any("TensorRTRTX" in name for name in t["answer"]["nodes"])]
    if ran:
        return f"yes: {len(ran)} of {len(graphs)} graphs ran on TensorRT-RTX on {device}"
    if seen["devices"]["ok"] and not any(d["own"] for d in seen["devices"]["answer"]):
        return f"no: the plugin registers and lists no device on {device}"
    failed = next((t["error"] for t in [seen["devices"], *graphs] if not t["ok"]), "it took no node")
    return f"no graph ran on TensorRT-RTX on {device}: {failed}"


def unpacked(wheel: Path, room: Path) -> Path:
    """The folder that holds the package."""
    if wheel.suffix == ".whl":
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(room)
        return room
    if not (wheel / PACKAGE).is_dir():
        raise SystemExit(f"{wheel}: expected a wheel or a folder that holds {PACKAGE}")
    return wheel.resolve()


def probe(wheel: Path, models: list[Path]) -> dict[str, Any]:
    """Everything, in order; a try that fails stops none behind it."""
    end = time.monotonic() + TOTAL_S
    tries = []
    for name in ("driver", "targets", "libraries", "devices"):
        tries.append(attempt(end - time.monotonic(), name, wheel))
        print(json.dumps(tries[-1]), flush=True)
    for path in standard_graphs(models):
        tries.append(attempt(end - time.monotonic(), "graph", wheel, path.resolve()))
        print(json.dumps(tries[-1]), flush=True)
    return {
        "question": "does TensorRT-RTX run on this device?",
        "answer": conclusion(tries),
        "python": sys.version.split()[0],
        "onnxruntime": _version(),
        "tries": tries,
    }


def _version() -> str:
    try:
        import onnxruntime
    except ImportError as error:
        return str(error)
    return str(onnxruntime.__version__)


def main() -> None:
    if sys.argv[1:2] == ["--try"]:
        _, _, name, *paths = sys.argv
        try:
            print(MARK + json.dumps(TRIES[name](*map(Path, paths))), flush=True)
        except Exception as error:
            traceback.print_exc(limit=-3)
            print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
            sys.exit(1)
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("wheel", type=Path, help="the wheel's file, or the folder it was unpacked to")
    parser.add_argument("models", type=Path, nargs="+", help="folders of exported models")
    parser.add_argument("-o", "--output", type=Path, help="where to write everything as JSON")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        found = probe(unpacked(asked.wheel, Path(room)), asked.models)
    if asked.output:
        asked.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(found["answer"])


if __name__ == "__main__":
    main()
