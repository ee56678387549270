"""What may import what: the engine runs without PyTorch, and nothing leans on a shell."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "transformers",
    "onnx",
    "onnxscript",
    "onnx_ir",
    "yaml",
    "huggingface_hub",
    "tensorrt",
    "triton",
}
"""What only `cuestream[export]` brings, or a device."""
MODEL = {
    "engine.model",
    *(
        f"engine.backends.{name}"
        for name in ("torch", "lockstep", "lanes", "places", "program", "captured", "gpus")
    ),
}
GPU = {
    f"cuestream.gpu.{name}"
    for name in (
        "bench",
        "crowd",
        "device",
        "fidelity",
        "legends",
        "musicgen",
        "peers",
        "profile",
        "providers",
        "report",
        "setting",
        "steps",
        "streams",
    )
}
ROOMS = ("engine", "export", "server", "kernels", "training", "cuestream")


def modules(room: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / room).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path) -> set[str]:
    """Every module that a file names in an import, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def is_in(module: str, rooms: set[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def breaches(room: str, forbidden: set[str], but: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    return [
        f"{name} imports {module}"
        for name, path in modules(room)
        if not is_in(name, but)
        for module in sorted(imported(path))
        if is_in(module, forbidden)
    ]


def test_the_engine_names_no_heavy_library_outside_its_model() -> None:
    assert breaches("engine", HEAVY | {"safetensors.torch"}, but=MODEL) == []
    assert any(
        is_in(m, {"torch"}) for name, path in modules("engine") if is_in(name, MODEL) for m in imported(path)
    )


def test_the_engine_reaches_its_model_through_the_torch_backend_only() -> None:
    assert breaches("engine", MODEL, but=MODEL) == []


def test_the_engine_imports_neither_export_nor_a_shell() -> None:
    assert breaches("engine", {"export", "server", "cuestream", "training", "benchmarks", "tests"}) == []


def test_the_engine_knows_no_event_loop_socket_or_random_global() -> None:
    assert breaches("engine", {"asyncio", "socket", "random", "threading", "typer", "rich"}) == []


def test_the_composer_is_played_without_the_libraries_of_training() -> None:
    names = {name for name, _ in modules("training")} - {"training"}
    others = {name for name in names if not is_in(name, {"training.composer"})}
    assert breaches("training", HEAVY | others, but=others) == []
    assert not is_in("training.composer.player", others)


@pytest.mark.parametrize("room", [r for r in ROOMS if r not in ("server", "cuestream")])
def test_nothing_imports_the_server_but_the_command_line(room: str) -> None:
    assert breaches(room, {"server"}) == []


def test_the_protocol_does_no_io_and_knows_no_engine() -> None:
    """Its generator, which writes files, is no part of what a server loads."""
    outside = {"asyncio", "socket", "threading", "time", "os", "pathlib", "random", *ROOMS} - {"server"}
    found = {breach.split()[0] for breach in breaches("server", outside)}
    assert {name for name in found if is_in(name, {"server.protocol"})} == {"server.protocol.generate"}


def test_the_core_of_a_session_reads_no_clock_and_does_no_io() -> None:
    outside = {"asyncio", "socket", "threading", "time", "os", "pathlib", "random", "uvicorn", "starlette"}
    assert [breach for breach in breaches("server", outside) if breach.startswith("server.core.")] == []


BELOW = {
    "protocol": set(),
    "core": set(),
    "system": set(),
    "engine_thread": {"core"},
    "audio": {"core", "protocol"},
    "access": {"protocol", "metrics"},
    "pictures": {"protocol", "access", "system"},
    "wire_controls": {"core", "protocol"},
    "checkpoints": {"core", "protocol", "audio", "metrics", "system", "wire_controls"},
}
"""What the rooms of the server that know no session may lean on."""


@pytest.mark.parametrize("room", BELOW)
def test_a_room_of_the_server_leans_only_on_what_lies_below(room: str) -> None:
    others = {path.stem for path in (ROOT / "server").iterdir()} - {"__init__", "__pycache__", "static", room}
    forbidden = {f"server.{other}" for other in others - BELOW[room]}
    found = [
        breach for breach in breaches("server", forbidden) if is_in(breach.split()[0], {f"server.{room}"})
    ]
    assert found == []


def test_the_export_imports_no_shell() -> None:
    """But the package's version, which every export carries."""
    found = {m for _, path in modules("export") for m in imported(path) if is_in(m, {"cuestream"})}
    assert found <= {"cuestream", "cuestream.__version__"}


def test_tests_of_any_folders_can_be_collected_together() -> None:
    """pytest puts each folder on the path: a second module of a name hides the first, as every `conftest` hides another."""
    paths = sorted((ROOT / "tests").rglob("*.py"))
    names = Counter(path.stem for path in paths if path.stem != "conftest")
    assert [name for name, count in names.items() if count > 1] == []
    assert [path.name for path in paths if "conftest" in imported(path)] == []


def run(program: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_importing_the_stream_and_its_default_backend_leaves_pytorch_alone() -> None:
    program = "import sys, engine.stream, engine.backends.onnxruntime; print(*sys.modules)"
    loaded = set(run(program).split())
    assert "engine.stream" in loaded
    assert "onnxruntime" not in loaded  # it is imported when a backend is made
    assert not loaded & HEAVY


def test_the_base_installation_plays_without_the_libraries_of_the_export() -> None:
    """Every module of the engine and the command line is imported and the model that ships plays, PyTorch out of reach."""
    names = [n for room in ("engine", "cuestream") for n, _ in modules(room) if not is_in(n, MODEL | GPU)]
    program = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({sorted(HEAVY)!r}))
for name in {[n for n in names if n != "cuestream.__main__"]!r}:
    importlib.import_module(name)
import numpy as np
from engine.backends.onnxruntime import OnnxBackend
from engine.library import DEFAULT_MODEL, find_model
from engine.stream import ScoreStream
stream = ScoreStream(OnnxBackend(find_model(DEFAULT_MODEL), threads=1))
side = stream.backend.spec.vision.image_size
stream.push(np.zeros((side, side, 3), np.uint8))
while not (chunk := stream.take()):
    stream.advance()
print(len(chunk.samples))
"""
    assert run(program).split()[-1] == "3200"
