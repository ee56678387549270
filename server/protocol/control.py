"""Text to control messages and back.

A control message is I-JSON (RFC 7493): UTF-8, no name twice in an object, no half surrogate pairs, no NaN, integers within
±(2**53 - 1). Whatever else arrives is a ProtocolError, never another exception: the sizes are checked before anything is
parsed, the depth before anything recurses.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import UNSET

from server.protocol.errors import FAULTS, MAX_NAME, ErrorCode, ProtocolError, quotable
from server.protocol.limits import DEFAULTS, Limits
from server.protocol.messages import CLIENT, SERVER, ClientMessage, ErrorMessage, Message, ServerMessage
from server.protocol.values import SAFE_INTEGER

M = TypeVar("M", ClientMessage, ServerMessage)

TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
"""A string, closed or not, or a bracket. It never backtracks: a string that does not end takes the rest."""
ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
WHERE = re.compile(r" - at `\$\.?(.*)`$")
"""How msgspec ends an error with the path of the field."""
MAX_DIGITS = len(str(-SAFE_INTEGER))
MAX_IGNORED = 64
"""Unknown fields that are named of one message."""

Names: TypeAlias = dict[str, Any]
"""Field names of a struct; under each the Names of the struct it holds, or an empty dict."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message of a type that this version does not know. It is left alone."""

    type: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Received(Generic[M]):
    """ignored: paths of fields that this version does not know, such as `config.sparkle`."""

    message: M | Unknown
    ignored: tuple[str, ...] = ()


def decode_client(raw: bytes | str, limits: Limits = DEFAULTS) -> Received[ClientMessage]:
    """What a client sent. Raises ProtocolError."""
    return _decode(raw, CLIENT, limits)


def decode_server(raw: bytes | str, limits: Limits = DEFAULTS) -> Received[ServerMessage]:
    """What a server sent. Raises ProtocolError."""
    return _decode(raw, SERVER, limits)


def encode(message: Message) -> str:
    """One line; fields that are left out are left out."""
    return msgspec.json.encode(message).decode()


def refusal(error: ProtocolError) -> ErrorMessage:
    """What the sender of a refused message is told."""
    fatal = FAULTS[error.code].close is not None
    param, event_id = (UNSET if given is None else given for given in (error.param, error.event_id))
    return ErrorMessage(str(error.code), error.text, fatal, param=param, event_id=event_id)


def _decode(raw: bytes | str, kinds: dict[str, type[M]], limits: Limits) -> Received[M]:
    text = _text(raw, limits.text_bytes)
    return plain(text, kinds) or careful(text, kinds, limits)


def plain(text: str, kinds: dict[str, type[M]]) -> Received[M] | None:
    """A message without objects in it, unknown names or faults, as reports and pings are: in a quarter of the time.

    None for every other one, which is to be read with care. As many colons as names: then no name stands twice.
    """
    try:
        tree = PLAIN.decode(text)
        kind = kinds[str(tree["type"])]
        known = text.count(":") == len(tree) and tree.keys() <= NAMES[kind].keys()
        return Received(msgspec.convert(tree, type=kind)) if known else None
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError):
        return None


def careful(text: str, kinds: dict[str, type[M]], limits: Limits = DEFAULTS) -> Received[M]:
    """Any message. Raises ProtocolError."""
    tree = _parse(text, limits)
    if not isinstance(tree, dict) or not isinstance(tree.get("type"), str):
        raise ProtocolError(ErrorCode.BAD_REQUEST, "a message is a JSON object with a `type`, a string")
    event_id = tree.get("event_id")
    known_id = event_id if isinstance(event_id, str) and 1 <= len(event_id) <= 64 else None
    kind = kinds.get(tree["type"])
    if kind is None:
        return Received(Unknown(quotable(tree["type"], MAX_NAME), known_id))
    return Received(_convert(tree, kind, known_id), tuple(_strangers(tree, NAMES[kind]))[:MAX_IGNORED])


def _convert(tree: dict[str, Any], kind: type[M], event_id: str | None) -> M:
    try:
        return msgspec.convert(tree, type=kind)
    except msgspec.ValidationError as error:
        text = str(error)
        where = WHERE.search(text)
        param = quotable(where[1], MAX_NAME) if where else None
        raise ProtocolError(ErrorCode.BAD_REQUEST, text, param, event_id) from None


def parse(raw: bytes | str, limits: Limits = DEFAULTS) -> Any:
    """I-JSON to Python values. Raises ProtocolError."""
    return _parse(_text(raw, limits.text_bytes), limits)


def _parse(text: str, limits: Limits) -> Any:
    if _depth(text) > limits.depth:
        _refuse(f"objects and arrays inside each other more than {limits.depth} deep")
    try:
        tree = DECODER.decode(text)
    except (json.JSONDecodeError, RecursionError) as error:
        _refuse(f"not JSON: {error}")
    if ESCAPED_SURROGATE.search(text):
        _check_surrogates(tree)
    return tree


def _text(raw: bytes | str, limit: int) -> str:
    if len(raw) > limit:
        raise ProtocolError(ErrorCode.MESSAGE_TOO_LARGE, f"a text message has at most {limit} bytes")
    try:
        text, data = (raw, raw.encode()) if isinstance(raw, str) else (raw.decode(), raw)
    except UnicodeError:
        raise ProtocolError(ErrorCode.INVALID_UTF8, "a text message is UTF-8") from None
    if len(data) > limit:
        raise ProtocolError(ErrorCode.MESSAGE_TOO_LARGE, f"a text message has at most {limit} bytes")
    return text


def _depth(text: str) -> int:
    """The deepest nesting of brackets outside strings."""
    depth = deepest = 0
    for token in TOKEN.findall(text):
        if token in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("a name stands twice in an object")
    return found


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS or abs(int(text)) > SAFE_INTEGER:
        _refuse("an integer beyond 2**53 - 1")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _refuse("a number that no double holds")
    return value


def _constant(text: str) -> NoReturn:
    _refuse(f"{text} is not JSON")


def _check_surrogates(tree: Any) -> None:
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        _refuse("half of a surrogate pair")


def _refuse(text: str) -> NoReturn:
    raise ProtocolError(ErrorCode.INVALID_JSON, text)


DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_constant
)


PLAIN = msgspec.json.Decoder(dict[str, str | int | float | bool | None])


def strangers(tree: Any, kind: type[msgspec.Struct]) -> list[str]:
    """Paths of what an object holds that a struct does not, such as `config.sparkle`."""
    return _strangers(tree, _names_of(kind)) if isinstance(tree, dict) else []


def _strangers(tree: dict[str, Any], names: Names, path: str = "") -> list[str]:
    """Paths of the fields of a valid message that its struct does not have."""
    found = []
    for name, value in tree.items():
        if name not in names:
            found.append(quotable(path + name, MAX_NAME))
        elif names[name] and isinstance(value, dict):
            found += _strangers(value, names[name], f"{path}{name}.")
    return found


@cache
def _names_of(kind: type[msgspec.Struct]) -> Names:
    return _names(msgspec.inspect.type_info(kind))


def _names(info: msgspec.inspect.Type) -> Names:
    """No message has an array of structs, so none is looked into."""
    if isinstance(info, msgspec.inspect.UnionType):
        return next((found for part in info.types if (found := _names(part))), {})
    if not isinstance(info, msgspec.inspect.StructType):
        return {}
    names = {field.encode_name: _names(field.type) for field in info.fields}
    return names | ({info.tag_field: {}} if info.tag_field else {})


NAMES: dict[Any, Names] = {kind: _names_of(kind) for kind in get_args(ClientMessage | ServerMessage)}
