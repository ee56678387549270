"""What a checkpoint is and what an operator chooses, both frozen.

`ModelSpec` holds facts read from a checkpoint; nothing in it is a preference. `StreamPolicy` holds the choices of whoever
runs a stream; nothing in it changes what the model computes from given inputs. Time is counted in decoder steps.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
from typing import Any, Literal, TypeAlias, TypeVar

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
NOISE_FRAMES = 50
"""Code frames after which the noise of an oscillator codec repeats, 1 s; its period is a multiple of it."""


@dataclass(frozen=True, slots=True)
class VisionSpec:
    """A CLIP vision tower. Frames are square, `image_size` pixels wide."""

    width: int
    layers: int
    heads: int
    mlp_width: int
    image_size: int
    patch_size: int
    activation: str = "quick_gelu"
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    motion: bool = False
    """Whether a frame has a fourth plane, the motion picture (`engine.motion`); mean and std have four entries then."""

    @property
    def planes(self) -> int:
        """C: planes of a frame as it is encoded."""
        return 4 if self.motion else 3

    @property
    def tokens(self) -> int:
        """P: tokens of a frame, the class token and the patches."""
        return 1 + (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True, slots=True)
class LongShortSpec:
    """The long-short-term module: two branch transformers and the fusion attention."""

    depth: int
    heads: int
    head_dim: int
    mlp_width: int
    fusion_heads: int
    frame_rate: int
    recalled: int


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """The autoregressive decoder over delayed codebooks."""

    width: int
    layers: int
    heads: int
    ffn_width: int
    codebooks: int
    card: int
    delays: tuple[int, ...]
    trained_s: float
    guidance: float
    ages: int = 0
    """A: age classes of a frame in slots, 0 the newest, the last one for all that is older. 0: no ages, as published."""

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def special(self) -> int:
        """The token that stands where the delay pattern has no entry."""
        return self.card


@dataclass(frozen=True, slots=True)
class CodecSpec:
    """The decoding half of an EnCodec: residual codebooks, an LSTM, transposed convolutions."""

    sample_rate: int
    codebooks: int
    codebook_size: int
    codebook_dim: int
    filters: int
    ratios: tuple[int, ...]
    kernel: int
    last_kernel: int
    residual_kernel: int
    residual_layers: int
    dilation_growth: int
    compress: int
    lstm_layers: int
    conv_shortcut: bool
    pad_mode: str = "reflect"
    kind: str = "encodec"

    @property
    def hop(self) -> int:
        """Samples of a code frame."""
        return math.prod(self.ratios)

    @property
    def lstm_width(self) -> int:
        return int(self.filters * 2 ** len(self.ratios))


@dataclass(frozen=True, slots=True)
class OscillatorSpec:
    """An oscillator bank driven by codes (`engine.model.oscillator`). Purely causal: nothing is looked ahead."""

    kind: str = "oscillator"
    sample_rate: int = 32000
    hop: int = 640
    codebooks: int = 4
    codebook_size: int = 1024
    """Codes of a part; the code of this number says that nothing was played yet."""
    codebook_dim: int = 24
    width: int = 96
    layers: int = 4
    kernel: int = 5
    partials: int = 300
    partials_per_octave: int = 36
    lowest_hz: float = 27.5
    noise_bands: int = 32
    period: int = 4000
    """Code frames after which every oscillator is where it began."""

    @property
    def context(self) -> int:
        """C: frames before the first that its samples depend on."""
        return self.layers * (self.kernel - 1) + 1

    @property
    def amplitudes(self) -> int:
        """N."""
        return self.partials + self.noise_bands


AnyCodecSpec: TypeAlias = CodecSpec | OscillatorSpec
CODEC_KINDS: dict[str, type[AnyCodecSpec]] = {"encodec": CodecSpec, "oscillator": OscillatorSpec}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything about a model that its weights imply. `codec` is None for a package whose codec is elsewhere."""

    name: str
    vision: VisionSpec
    long_short: LongShortSpec
    decoder: DecoderSpec
    codec: AnyCodecSpec | None
    code_rate: int = 50

    def __post_init__(self) -> None:
        for part in (self, self.vision, self.long_short, self.decoder, *filter(None, (self.codec,))):
            _check_numbers(self.name, part)
        _check(self)

    @property
    def steps_per_slot(self) -> int:
        """Decoder steps that pass while one frame slot is open."""
        return self.code_rate // self.long_short.frame_rate

    @property
    def window_slots(self) -> int:
        """Frame slots in the longest short-term window that the decoder was trained with."""
        return int(self.decoder.trained_s * self.long_short.frame_rate)

    @property
    def trained_steps(self) -> int:
        """Positions that training reached: the special column and one for each trained timestep."""
        return int(self.decoder.trained_s * self.code_rate) + 1

    @property
    def max_positions(self) -> int:
        """Positions that a published window may touch: training's, and the flush of the delay pattern."""
        return self.trained_steps + max(self.decoder.delays)

    @property
    def digest(self) -> str:
        """Names this spec; exported graphs carry it so that they are never run with another."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Raises ValueError, naming the field, when the text is not a spec."""
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise ValueError(f"a model spec is a JSON object, not {type(raw).__name__}")
        parts: dict[str, Any] = {
            "vision": VisionSpec,
            "long_short": LongShortSpec,
            "decoder": DecoderSpec,
            "codec": _codec_kind(raw.get("codec")),
        }
        for key, kind in parts.items():
            if key in raw and not (key == "codec" and raw[key] is None):
                raw[key] = _build(kind, raw[key], key)
        return _build(cls, raw, "spec")


_T = TypeVar("_T")


def _codec_kind(raw: Any) -> type[AnyCodecSpec]:
    """Which kind a JSON codec is; one that does not say is an EnCodec."""
    kind = raw.get("kind", "encodec") if isinstance(raw, dict) else "encodec"
    if not isinstance(kind, str) or kind not in CODEC_KINDS:
        raise ValueError(f"codec: unknown kind {kind!r}; known are {', '.join(CODEC_KINDS)}")
    return CODEC_KINDS[kind]


def _build(kind: type[_T], raw: Any, where: str) -> _T:
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: expected a JSON object, found {type(raw).__name__}")
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := set(raw) - known:
        raise ValueError(
            f"{where}: unknown field {sorted(unknown)[0]!r}; known are {', '.join(sorted(known))}"
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


NUMBERS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "whole number"),
    "float": ((int, float), "number"),
}
MAY_BE_ZERO = ("ages", "guidance")


def _check_numbers(name: str, part: Any) -> None:
    """Whatever a spec counts or measures is a number above 0."""
    for field in fields(part):
        kinds, called = NUMBERS.get(str(field.type), ((), ""))
        found, zero = getattr(part, field.name), field.name in MAY_BE_ZERO
        if kinds and (type(found) not in kinds or not (found > 0 or (zero and found == 0))):
            limit = "of 0 or more" if zero else "above 0"
            raise ValueError(f"model spec {name!r}: {field.name} is a {called} {limit}; got {found!r}")


def _check(spec: ModelSpec) -> None:
    decoder, eyes = spec.decoder, spec.long_short
    rules = {
        "trained_s is at most 3600": decoder.trained_s <= 3600,
        "decoder width is a multiple of its heads": decoder.width % decoder.heads == 0,
        "decoder width is even (sinusoidal positions)": decoder.width % 2 == 0,
        "vision width is a multiple of its heads": spec.vision.width % spec.vision.heads == 0,
        "vision width is a multiple of the fusion heads": spec.vision.width % eyes.fusion_heads == 0,
        "a mean and a deviation for each plane": len(spec.vision.mean)
        == len(spec.vision.std)
        == spec.vision.planes,
        "one delay for each codebook": len(decoder.delays) == decoder.codebooks,
        "delays are 0, 1, 2, ...": decoder.delays == tuple(range(decoder.codebooks)),
        "a frame slot is a whole number of steps": spec.code_rate % eyes.frame_rate == 0,
    }
    if spec.codec is not None:
        rules |= {
            "the codec has the decoder's codebooks": spec.codec.codebooks >= decoder.codebooks,
            "the codec knows every token of the decoder": spec.codec.codebook_size >= decoder.card,
            "the codec's hop gives the code rate": spec.codec.sample_rate == spec.codec.hop * spec.code_rate,
        }
    if isinstance(spec.codec, CodecSpec):
        rules["the codec's ratios are above 0"] = min(spec.codec.ratios, default=0) > 0
    if isinstance(spec.codec, OscillatorSpec):
        rules["the period is a multiple of the noise's"] = spec.codec.period % NOISE_FRAMES == 0
    for rule, holds in rules.items():
        if not holds:
            raise ValueError(f"model spec {spec.name!r} breaks the rule: {rule}")


Effort: TypeAlias = Literal["full", "light"]
"""How much is computed for a second of music: `full` as a policy says, `light` what `StreamPolicy.at_effort` leaves of it."""
COLDEST = 1e-6
"""A temperature below this is greedy: logits that it divided would soon be none of float32's numbers."""
KEYS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
"""Key signatures by the tonic of their major scale."""


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """The choices of whoever runs a stream. Every field is a limit or a preference with a default."""

    seed: int = 0
    guidance: float = 3.0
    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0
    """0 turns nucleus sampling off; otherwise it replaces top-k, as published."""

    short_term_s: float = 10.0
    """Length of the short-term window: how long an old scene keeps sounding."""
    context_s: float = 15.0
    """Music that the following segment has heard when it takes over."""
    chunk_steps: int = 5
    """Code frames decoded to audio at once: 5 are 100 ms."""
    key: str = "seed"
    """The key signature, one of `KEYS` (its major scale), that music is held to where the pitches of tokens are
    known. `seed`: the seed chooses; `free`: none."""

    energy: float = 0.0
    """How lively the music is beside what moves in the picture: -1 as if nothing did, 1 as if all of it did. Players that see
    no motion know none."""

    encode_every_steps: int = 10
    """A new frame is encoded at most this often, but at a cut."""
    open_slot: bool = True
    """A newer frame may replace the content of the newest slot."""
    hold_last_frame: bool = True
    """While no frame comes, the last one is still on the screen and fills the slots that pass."""
    similar_below: float = 0.004
    """Mean absolute difference (of full scale) under which a frame counts as the one before it; 0 encodes all."""
    motion_similar_below: float = 0.02
    """The same for the mean of the motion picture, of a model that sees it."""
    cut_above: float = 0.08
    """Mean absolute difference (of full scale) above which a frame may be a cut ..."""
    cut_colours_above: float = 0.30
    """... and the share of pixels with new colours above which it is one."""
    on_cut: Literal["ignore", "gentle", "forget"] = "forget"
    """`forget`: frames from before a cut leave the short-term window; they stay in long-term memory. `gentle`: the new scene is
    looked at without delay, and the frames from before it leave as they grow old."""

    long_term_capacity: int = 64
    recalled: int = 32
    refresh: Literal["exact", "rolling"] = "rolling"
    """When long-term memory changes: fuse every held frame again at once, or one after another."""
    refresh_every_steps: int = 5
    """Rolling: one stale frame is fused again each so many steps, in turn."""

    def __post_init__(self) -> None:
        for field in fields(self):
            found = getattr(self, field.name)
            if field.type == "int" and not isinstance(found, Integral):
                raise ValueError(f"stream policy: {field.name} is a whole number; got {found!r}")
        limits = {
            "seed is from 0 to 2**63 - 1": 0 <= self.seed < 2**63,
            "guidance is from 0 to 20": 0 <= self.guidance <= 20,
            "temperature is from 0 (greedy) to 10": 0 <= self.temperature <= 10,
            "top_k is 0 (off) or more": self.top_k >= 0,
            "top_p is from 0 (off) to 1": 0 <= self.top_p <= 1,
            "short_term_s is from 0.5 to 3600": 0.5 <= self.short_term_s <= 3600,
            "context_s is from 0 to 3600": 0 <= self.context_s <= 3600,
            "chunk_steps is from 1 to 500": 1 <= self.chunk_steps <= 500,
            f"key is seed, free or one of {' '.join(KEYS)}": self.key in ("seed", "free", *KEYS),
            "energy is from -1 to 1": -1 <= self.energy <= 1,
            "encode_every_steps is at least 1": self.encode_every_steps >= 1,
            "recalled is from 1 to long_term_capacity": 1 <= self.recalled <= self.long_term_capacity,
            "long_term_capacity is even": self.long_term_capacity % 2 == 0,
            "refresh_every_steps is at least 1": self.refresh_every_steps >= 1,
            "on_cut is ignore, gentle or forget": self.on_cut in ("ignore", "gentle", "forget"),
            "refresh is exact or rolling": self.refresh in ("exact", "rolling"),
        }
        for limit, holds in limits.items():
            if not holds:
                raise ValueError(f"stream policy: {limit}; got {getattr(self, limit.split()[0])!r}")

    @property
    def guided(self) -> bool:
        """Whether guidance needs a null row beside each conditional one."""
        return self.guidance != 1.0

    @property
    def heat(self) -> float:
        """What logits are divided by; 0 takes the likeliest."""
        return self.temperature if self.temperature >= COLDEST else 0.0

    def at_effort(self, effort: Effort) -> StreamPolicy:
        """`light` is for large models on small machines. Of segments of 30 s two play for a fifth of the time, not always,
        a step attends to half as many frames, a frame is looked at and fused again once in half a second, and the codec has
        longer pieces. What is less already stays."""
        if effort == "full":
            return self
        return replace(
            self,
            context_s=min(self.context_s, 5.0),
            short_term_s=min(self.short_term_s, 5.0),
            encode_every_steps=max(self.encode_every_steps, 25),
            refresh_every_steps=max(self.refresh_every_steps, 25),
            chunk_steps=max(self.chunk_steps, 10),
        )
