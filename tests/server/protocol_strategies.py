"""Hypothesis strategies of the protocol's messages, from the same ranges that the decoder checks."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec import NODEFAULT, UNSET, inspect

from server.protocol.media import FIRST_AUDIO, RAW, Flag, Kind, Media, Source, StreamId
from server.protocol.values import SAFE_INTEGER, U32

TEXT = st.characters(exclude_categories=["Cs"])


def message(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Any valid message of a struct."""
    return of(inspect.type_info(kind))


def of(info: inspect.Type) -> st.SearchStrategy[Any]:
    """Any value of a type that msgspec knows; a type that no message has yet is a KeyError."""
    return MAKERS[type(info)](info)


def struct(info: Any) -> st.SearchStrategy[Any]:
    """What may be left out is left out half of the time."""
    fields = {f.name: of(f.type) if f.required else left_out(f) | of(f.type) for f in info.fields}
    return st.builds(info.cls, **fields)


def left_out(field: Any) -> st.SearchStrategy[Any]:
    return st.just(UNSET if field.default is NODEFAULT else field.default)


def real(info: Any) -> st.SearchStrategy[float]:
    exclude = info.gt is not None
    low = info.gt if exclude else info.ge
    return st.floats(low, info.le, exclude_min=exclude, allow_nan=False)


def text(info: Any) -> st.SearchStrategy[str]:
    return st.text(TEXT, min_size=info.min_length or 0, max_size=min(info.max_length or 20, 64))


MAKERS: dict[type, Any] = {
    inspect.StructType: struct,
    inspect.IntType: lambda info: st.integers(info.ge, info.le),
    inspect.FloatType: real,
    inspect.StrType: text,
    inspect.BoolType: lambda info: st.booleans(),
    inspect.LiteralType: lambda info: st.sampled_from(info.values),
    inspect.VarTupleType: lambda info: st.lists(
        of(info.item_type), min_size=info.min_length or 0, max_size=8
    ).map(tuple),
    inspect.Metadata: lambda info: of(info.type),
}

SAFE = st.integers(0, SAFE_INTEGER)
WORD = st.integers(0, U32)
SOURCES = st.builds(Source, SAFE, WORD, WORD, SAFE, WORD)
FLAGS = st.lists(st.sampled_from([f for f in Flag if f is not Flag.EXTENDED])).map(
    lambda flags: Flag(sum(set(flags)))
)


@st.composite
def media(draw: st.DrawFn) -> Media:
    """Any valid binary message but raw pictures."""
    kind = draw(st.sampled_from([k for k in Kind if k not in RAW]))
    audio = kind >= FIRST_AUDIO
    stream = draw(st.sampled_from([StreamId.ORIGINAL, StreamId.MUSIC])) if audio else StreamId.VIDEO
    dur = draw(st.integers(1, 64))
    width = {Kind.PCM_S16: 2, Kind.PCM_F32: 4}.get(kind)
    size = draw(st.integers(1, 200)) if width is None else dur * width * draw(st.sampled_from([1, 2]))
    return Media(
        kind,
        stream,
        draw(WORD),
        draw(SAFE),
        draw(st.binary(min_size=size, max_size=size)),
        draw(FLAGS),
        draw(WORD),
        dur,
        draw(st.none() | SOURCES),
    )
