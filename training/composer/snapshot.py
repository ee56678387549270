"""The state of a procedural stream as bytes and back: a safetensors blob whose description carries a checksum of everything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.errors import PackageError
from engine.frames import Frame
from engine.motion import MotionPicture
from engine.spec import StreamPolicy
from training.composer.attributes import Extractor
from training.composer.composer import Composer, Note, Phrase

STATE_FORMAT = 2
DAMAGE = (KeyError, ValueError, TypeError, IndexError, AttributeError)
"""What reading a damaged description raises."""

Arrays = dict[str, NDArray[Any]]
Step = tuple[tuple[Note, ...], int, int]
"""Notes, the capture step of the newest frame, the phrase."""


def pack(digest: str, state: dict[str, Any], arrays: Arrays) -> bytes:
    """digest: of the player, as `spec_digest` in the snapshots of models."""
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    meta = {"format": STATE_FORMAT, "spec_digest": digest, "state": state}
    blob: bytes = save(plain, {"stream": json.dumps(meta | {"sum": _sum(meta, plain)})})
    return blob


def unpack(digest: str, blob: bytes) -> tuple[dict[str, Any], Arrays]:
    """State and arrays. Raises PackageError when the blob is damaged or another player's."""
    try:
        arrays = load(blob)
        header = int.from_bytes(blob[:8], "little")
        meta = json.loads(json.loads(blob[8 : 8 + header])["__metadata__"]["stream"])
        found, owner, checksum = meta["format"], meta["spec_digest"], meta.pop("sum", None)
    except (SafetensorError, *DAMAGE) as error:
        raise _damaged(" ".join(f"{type(error).__name__} {error}".split())) from error
    if owner != digest:
        raise PackageError(f"the snapshot belongs to the model {owner}, not to {digest}")
    if found != STATE_FORMAT:
        raise PackageError(f"expected snapshot format {STATE_FORMAT}, found {found!r}")
    if checksum != _sum(meta, arrays):
        raise _damaged("it has another checksum")
    return meta["state"], arrays


def _sum(meta: dict[str, Any], arrays: Arrays) -> str:
    found = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(arrays[name].tobytes())
    return found.hexdigest()


def _damaged(reason: str) -> PackageError:
    return PackageError(f"expected a stream snapshot, found something else or a damaged one: {reason}")


def composer_state(composer: Composer) -> dict[str, Any]:
    plain = {field.name: getattr(composer, field.name) for field in fields(composer)}
    ends = [[part, key, end] for (part, key), end in composer.ends.items()]
    phrase = None if composer.phrase is None else asdict(composer.phrase)
    return plain | {"ends": ends, "phrase": phrase, "signatures": list(composer.signatures)}


def composer_of(state: dict[str, Any]) -> Composer:
    phrase, ends = state["phrase"], {(part, key): end for part, key, end in state["ends"]}
    if phrase is not None:
        lists = {name: tuple(phrase[name]) for name in ("progression", "chord")}
        phrase = Phrase(**(phrase | lists))
    return Composer(**(state | {"ends": ends, "phrase": phrase, "signatures": tuple(state["signatures"])}))


def extractor_state(extractor: Extractor) -> tuple[dict[str, Any], Arrays]:
    """Plain values, and arrays: the last frame, the one that motion is measured from, and the motion."""
    motion, arrays, steps = extractor.motion, Arrays(), dict[str, int]()
    for name, frame in (("last", extractor.last), ("before", motion.before)):
        if frame is not None:
            arrays[name], steps[name] = frame.pixels, frame.step
    if motion.changes is not None:
        arrays["changes"] = motion.changes
    return {"steps": steps, "weight": motion.weight}, arrays


def extractor_of(policy: StreamPolicy, state: dict[str, Any], arrays: Arrays) -> Extractor:
    last, before = (
        Frame(arrays[name], state["steps"][name]) if name in arrays else None for name in ("last", "before")
    )
    return Extractor(policy, MotionPicture(before, arrays.get("changes"), state["weight"]), last)


def score_arrays(score: Iterable[Step]) -> Arrays:
    """notes: [n, 5] of step, part, key, velocity (0 ends a note) and program (-1 is the drum kit). steps: [m, 2]."""
    steps = list(score)
    notes = [
        (at, note.part, note.key, note.velocity, -1 if note.program is None else note.program)
        for at, (written, _, _) in enumerate(steps)
        for note in written
    ]
    return {
        "notes": np.array(notes, np.int32).reshape(-1, 5),
        "steps": np.array([step[1:] for step in steps], np.int64).reshape(-1, 2),
    }


def score_of(arrays: Arrays) -> list[Step]:
    notes: list[list[Note]] = [[] for _ in arrays["steps"]]
    for at, part, key, velocity, program in arrays["notes"].tolist():
        notes[at].append(Note(part, key, velocity > 0, velocity, None if program < 0 else program))
    return [(tuple(written), *step) for written, step in zip(notes, arrays["steps"].tolist(), strict=True)]
