"""What the field's metrics hear and see with: trained models of others, each imported and loaded when a metric asks for it.

Nothing here comes with this repository, and each model fetches weights from a hub at its first use. Where these lines were
written no hub can be reached, so the calls follow the libraries' published interfaces (frechet-audio-distance 0.3.4, hear21passt
0.0.26, laion-clap 1.1.7, the ImageBind checkout) and what they do with real weights is untested. The first and the third ask for
NumPy below 2, which the engine does not run with: give them an environment of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import MediaError, MissingRuntime, PackageError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

VGGISH_HZ, PASST_HZ, CLAP_HZ = 16_000, 32_000, 48_000
WINDOW_S = 10
"""What PaSST and CLAP were trained on (CLAP would take any such part at random): longer pieces are heard in parts."""
CHECKPOINT = ".checkpoints/imagebind_huge.pth"


def vggish(pieces: Sequence[Path]) -> F64:
    """[patches, 128], one for each second or so (VGGish: Hershey et al. 2017, before its last activation, as in FAD)."""
    with needed("the Fréchet audio distance", "frechet-audio-distance"):
        from frechet_audio_distance import FrechetAudioDistance

        model = FrechetAudioDistance(
            model_name="vggish", sample_rate=VGGISH_HZ, use_pca=False, use_activation=False
        )
    heard = [model.get_embeddings([sound(piece, VGGISH_HZ)], sr=VGGISH_HZ) for piece in pieces]
    return np.concatenate(heard).astype(np.float64)


def passt(pieces: Sequence[Path]) -> list[F64]:
    """For each piece the logits of AudioSet's labels, [windows, 527] (PaSST: Koutini et al. 2022)."""
    import torch

    with needed("the KL divergence", "hear21passt"):
        from hear21passt.base import load_model

        model = load_model(mode="logits").eval()
    answer = []
    for piece in pieces:
        with torch.inference_mode():
            windows = torch.from_numpy(windowed(sound(piece, PASST_HZ), WINDOW_S * PASST_HZ))
            answer.append(model(windows.to(model.device())).double().cpu().numpy())
    return answer


def clap(pieces: Sequence[Path], texts: Sequence[str]) -> tuple[F64, F64]:
    """Embeddings of music (means of its windows) and of its descriptions, [N, 512] each (CLAP: Wu et al. 2023)."""
    with needed("the CLAP score", "laion-clap"):
        import laion_clap

        model = laion_clap.CLAP_Module(enable_fusion=False)
        model.load_ckpt(verbose=False)
    parts = [windowed(sound(piece, CLAP_HZ), WINDOW_S * CLAP_HZ) for piece in pieces]
    heard = [model.get_audio_embedding_from_data(part).mean(0) for part in parts]
    # one text alone loses its axis in some releases, and a second one changes nothing
    read = model.get_text_embedding([*texts, ""])[: len(texts)]
    return np.stack(heard).astype(np.float64), np.asarray(read, np.float64)


def imagebind(pieces: Sequence[Path], videos: Sequence[Path], checkout: Path) -> tuple[F64, F64]:
    """Embeddings of music and of video, [N, 1024] each (ImageBind: Girdhar et al. 2023; CC BY-NC-SA, so only by its path).

    checkout: the project's own repository, with its checkpoint in `.checkpoints/`. Raises PackageError when it is none.
    """
    import torch

    weights = checkout / CHECKPOINT
    if not weights.is_file():
        raise PackageError(f"{checkout}: expected a checkout of ImageBind with {CHECKPOINT} (not commercial)")
    sys.path.insert(0, str(checkout.resolve()))
    with needed("the ImageBind score", "what the requirements.txt of the checkout lists"):
        from imagebind import data
        from imagebind.models.imagebind_model import ModalityType, imagebind_huge
    model: Any = imagebind_huge(pretrained=False)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    model.eval()
    heard, seen = list[F64](), list[F64]()
    for piece, video in zip(pieces, videos, strict=True):
        shown = {
            ModalityType.AUDIO: data.load_and_transform_audio_data([str(piece)], "cpu"),
            ModalityType.VISION: data.load_and_transform_video_data([str(video)], "cpu"),
        }
        with torch.inference_mode():
            answer = model(shown)
        heard.append(answer[ModalityType.AUDIO].double().numpy())
        seen.append(answer[ModalityType.VISION].double().numpy())
    return np.concatenate(heard), np.concatenate(seen)


@contextmanager
def needed(metric: str, package: str) -> Iterator[None]:
    """Raises MissingRuntime in one line, when the package is missing or its weights cannot be fetched."""
    try:
        yield
    except ImportError as error:
        raise MissingRuntime(
            f"{metric} needs {package} ({error}): pip install it, in an environment of its own; "
            "at its first use it fetches weights from a model hub"
        ) from error
    except OSError as error:
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise MissingRuntime(
            f"{metric}: {package} could not fetch its weights, a model hub must be in reach at its first use: {reason[0]}"
        ) from error


def sound(piece: Path, sample_rate: int) -> F32:
    """Mono samples [n] at a rate. Raises MediaError when the file cannot be read, or is empty."""
    import librosa
    import soundfile

    try:
        samples, rate = soundfile.read(piece, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise MediaError(f"{piece}: cannot be read as sound: {error}") from error
    if not len(samples):
        raise MediaError(f"{piece}: expected sound, found none")
    heard: F32 = librosa.resample(samples.mean(1), orig_sr=rate, target_sr=sample_rate)
    return heard


def windowed(samples: F32, length: int) -> F32:
    """Whole windows, [windows, length], without the rest; a piece that is shorter is one window of its own length."""
    length = min(length, len(samples))
    return samples[: len(samples) // length * length].reshape(-1, length)
