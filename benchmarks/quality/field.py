"""`python -m benchmarks.quality.field MADE REFERENCE [--videos FOLDER]`: the metrics that papers on music for video print.

* `fad`: Fréchet audio distance of all pieces to all references (VGGish; Kilgour et al. 2019). Lower is better.
* `kl`: Kullback-Leibler divergence of a piece's labels from those of the reference of the same name (PaSST). Lower is better.
* `clap`: cosine of a piece and its description, `NAME.txt` among the references (LAION CLAP). Higher is better.
* `imagebind`: cosine of a piece and the video of the same name (ImageBind, not commercial). Higher is better.

The arithmetic is ours and tested; the models are others' (`benchmarks/quality/embedders.py`) and come from hubs that could not be
reached where this was written, so that a whole run with real weights is untested. A metric whose library or weights are missing
says so in one line, and no figure stands in for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import embedders
from benchmarks.quality.distances import frechet
from engine.errors import CuestreamError, MediaError
from engine.media.video import VIDEO_ENDINGS

F64 = NDArray[np.float64]

LEAST = 1e-6
"""Of a label's share: what the one tagger calls impossible must not make the whole divergence infinite."""


@dataclass(frozen=True, slots=True)
class Compared:
    """made and references: folders of WAVs; the same name is for the same video. checkout: of ImageBind."""

    made: Path
    references: Path
    videos: Path | None = None
    checkout: Path | None = None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("made", type=Path, help="folder of WAVs")
    parser.add_argument("references", type=Path, help="folder of WAVs of the same names")
    parser.add_argument("--videos", type=Path, help="folder of the videos, of the same names")
    parser.add_argument("--imagebind", type=Path, help="a checkout of ImageBind with its checkpoint")
    parser.add_argument("--metric", nargs="+", choices=METRICS, default=["fad", "kl"])
    options = parser.parse_args()
    compared = Compared(options.made, options.references, options.videos, options.imagebind)
    try:
        for name in options.metric:
            print(f"{name}: {METRICS[name](compared):.4f}", flush=True)
    except CuestreamError as error:
        parser.exit(2, f"field: {error}\n")


def fad(compared: Compared) -> float:
    made, references = wavs(compared.made), wavs(compared.references)
    return frechet(embedders.vggish(made), embedders.vggish(references))


def kl(compared: Compared) -> float:
    pairs = paired(wavs(compared.made), wavs(compared.references))
    made, references = (embedders.passt(side) for side in zip(*pairs, strict=True))
    return float(np.mean([divergence(labels(r), labels(m)) for m, r in zip(made, references, strict=True)]))


def clap(compared: Compared) -> float:
    pairs = paired(wavs(compared.made), files(compared.references, (".txt",)))
    texts = [text.read_text(encoding="utf-8").strip() for _, text in pairs]
    return mean_cosine(*embedders.clap([piece for piece, _ in pairs], texts))


def imagebind(compared: Compared) -> float:
    if compared.videos is None or compared.checkout is None:
        raise MediaError("the ImageBind score needs --videos FOLDER and --imagebind CHECKOUT")
    pairs = paired(wavs(compared.made), files(compared.videos, VIDEO_ENDINGS))
    made, videos = zip(*pairs, strict=True)
    return mean_cosine(*embedders.imagebind(made, videos, compared.checkout))


METRICS: dict[str, Callable[[Compared], float]] = {"fad": fad, "kl": kl, "clap": clap, "imagebind": imagebind}


def labels(logits: F64) -> F64:
    """[windows, L] of a tagger to the piece's distribution over labels, [L]: the mean of the windows' softmax."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray((shifted / shifted.sum(1, keepdims=True)).mean(0), np.float64)


def divergence(truth: F64, guess: F64) -> float:
    """KL(truth ‖ guess) in nats, of two distributions over the same labels, [L] each."""
    p, q = (np.maximum(each, LEAST) / np.maximum(each, LEAST).sum() for each in (truth, guess))
    return float((p * np.log(p / q)).sum())


def mean_cosine(a: F64, b: F64) -> float:
    """Of rows, [N, E] each."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / np.maximum(lengths, 1e-12)).mean())


def wavs(folder: Path) -> list[Path]:
    return files(folder, (".wav",))


def files(folder: Path, endings: Sequence[str]) -> list[Path]:
    """Raises MediaError when the folder has none, or is none."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in endings) if folder.is_dir() else []
    if not found:
        raise MediaError(f"{folder}: expected a folder with {' or '.join(endings)} files, found none")
    return found


def paired(pieces: Sequence[Path], others: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Those of the same name but the ending. Raises MediaError when a piece has no other, for a mean over some would mislead."""
    by_name = {other.stem: other for other in others}
    alone = [piece.name for piece in pieces if piece.stem not in by_name]
    if alone:
        raise MediaError(
            f"{alone[0]}: no file of this name in {others[0].parent}, and {len(alone)} such in all"
        )
    return [(piece, by_name[piece.stem]) for piece in pieces]


if __name__ == "__main__":
    main()
