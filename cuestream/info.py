"""What `cuestream info` says of an exported model."""

from __future__ import annotations

from engine import codec
from engine.backends.manifest import ONNXRUNTIME, STANDARD, Manifest
from engine.backends.native import obstacle
from engine.backends.providers import NOT_OF_CPUS
from engine.errors import MissingRuntime
from engine.keys import Keys
from engine.spec import KEYS, ModelSpec, OscillatorSpec

Section = tuple[str, list[tuple[str, str]]]


OPERATORS = {
    ONNXRUNTIME: "ONNX Runtime's own, for its CPU",
    STANDARD: "ONNX's alone, also for NVIDIA GPUs",
}


def describe(manifest: Manifest) -> list[Section]:
    """Sections of (name, value) rows."""
    spec = manifest.spec
    return [(spec.name, _model(manifest, spec)), ("time", _time(spec)), ("graphs", _graphs(manifest))]


def _model(manifest: Manifest, spec: ModelSpec) -> list[tuple[str, str]]:
    eyes, decoder = spec.vision, spec.decoder
    rows = [
        ("spec", spec.digest),
        ("precision", manifest.label),
        ("operators", OPERATORS[manifest.operators]),
        ("a step on this CPU", _step_here(manifest)),
        ("size on disk", f"{sum(f.stat().st_size for f in manifest.folder.iterdir()) / 1e6:.1f} MB"),
        (
            "vision",
            f"{eyes.layers} x {eyes.width}, {eyes.image_size} px in patches of {eyes.patch_size}, {eyes.tokens} tokens",
        ),
        (
            "long-short-term",
            f"{spec.long_short.depth} layers a branch, {spec.long_short.recalled} frames recalled",
        ),
        (
            "decoder",
            f"{decoder.layers} x {decoder.width}, {decoder.heads} heads, {decoder.codebooks} codebooks of {decoder.card}",
        ),
        ("guidance", f"{decoder.guidance:g}"),
    ]
    if keys := Keys.load(manifest.folder, decoder.codebooks, decoder.card):
        rows.append(("keys", f"all twelve; the seed chooses among {' '.join(KEYS[k] for k in keys.taught)}"))
    if spec.codec is None:
        return [*rows, ("codec", "none: this export makes codes, but no audio")]
    sound = spec.codec
    if isinstance(sound, OscillatorSpec):
        parts = f"{sound.codebooks} parts, {sound.partials} oscillators, {sound.noise_bands} noise bands"
        return [*rows, ("codec", f"oscillators, {sound.sample_rate} Hz mono, {parts}")]
    strides = " x ".join(map(str, sound.ratios))
    return [*rows, ("codec", f"EnCodec, {sound.sample_rate} Hz mono, {strides} samples a code frame")]


def _step_here(manifest: Manifest) -> str:
    if manifest.precision == NOT_OF_CPUS:
        return f"none: {NOT_OF_CPUS} is for NVIDIA GPUs"
    return f"by the graph: {why}" if (why := obstacle(manifest)) else "in C, kernels/native"


def _time(spec: ModelSpec) -> list[tuple[str, str]]:
    step_ms = 1000 / spec.code_rate
    rows = [
        ("a step", f"{step_ms:g} ms"),
        ("a frame slot", f"{spec.steps_per_slot} steps, {spec.long_short.frame_rate} a second"),
        ("trained to", f"{spec.decoder.trained_s:g} s, {spec.window_slots} slots"),
    ]
    if spec.codec is not None:
        behind = max(spec.decoder.delays) + codec.look_ahead(spec.codec)
        rows.append(
            (
                "structural delay",
                f"{behind * step_ms:g} ms ({max(spec.decoder.delays)} steps of delay pattern, the rest look-ahead)",
            )
        )
    return rows


def _graphs(manifest: Manifest) -> list[tuple[str, str]]:
    made = ", ".join(f"{name} {version}" for name, version in manifest.made_with.items())
    return [
        *((name, f"{graph['nodes']} nodes") for name, graph in manifest.graphs.items()),
        ("made with", made),
    ]


def describe_synthetic() -> list[Section]:
    """What the test tones are."""
    from engine.synthetic import CODE_RATE, LABEL, NAME, SAMPLE_RATE, SIDE, tone_hz

    rows = [
        ("kind", LABEL),
        (
            "hears",
            f"dark: {tone_hz(0, False)} Hz, bright: {tone_hz(0, True)} Hz (seed 0); a jump: a click; live only",
        ),
        ("frames", f"{SIDE} px"),
        ("sound", f"{SAMPLE_RATE} Hz mono"),
    ]
    time = [("a step", f"{1000 / CODE_RATE:g} ms"), ("structural delay", "0 ms, no look-ahead")]
    return [(NAME, rows), ("time", time)]


def describe_procedural() -> list[Section]:
    """What the composer is; it can be described where it cannot sound."""
    from training.composer.arrangement import PARTS
    from training.composer.player import LABEL, NAME
    from training.composer.soundfont import CODE_RATE, SAMPLE_RATE
    from training.composer.stream import SIDE

    return [
        (
            NAME,
            [
                ("kind", LABEL),
                ("hears", "brightness, warmth, saturation, motion and cuts of the picture; live only"),
                ("frames", f"{SIDE} px"),
                ("parts", ", ".join(PARTS)),
                ("seed", "the same seed, video and sound font give the same music"),
                ("sound", f"{SAMPLE_RATE} Hz mono, played by tinysoundfont (MIT)"),
                *_sound_font(),
            ],
        ),
        ("time", [("a step", f"{1000 / CODE_RATE:g} ms"), ("structural delay", "0 ms, no look-ahead")]),
    ]


def _sound_font() -> list[tuple[str, str]]:
    from training.composer.soundfont import digest, licence_of, ready

    try:
        path = ready()
    except MissingRuntime as error:
        return [("sound font", f"not ready: {error}")]
    return [("sound font", str(path)), ("its licence", licence_of(path)), ("spec", digest(path))]
