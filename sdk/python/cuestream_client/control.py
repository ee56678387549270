"""Text to control messages and back: I-JSON (RFC 7493), one object with a `type`.

Unknown fields are skipped and unknown types are None, so that an older client can talk to a newer server. Whatever else arrives
is a ProtocolError, never another exception.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, TypeVar

import msgspec

from cuestream_client.errors import ProtocolError
from cuestream_client.messages import CLIENT, SAFE_INTEGER, SERVER, ClientMessage, Message, ServerMessage

M = TypeVar("M", ClientMessage, ServerMessage)

TEXT_BYTES = 64 * 1024
DEPTH = 16
MAX_DIGITS = len(str(-SAFE_INTEGER))


def encode(message: Message) -> str:
    """One line; fields that are left out are left out."""
    return msgspec.json.encode(message).decode()


def check(message: ClientMessage) -> None:
    """Raises ValueError with the field that is wrong, TypeError for what has no place in JSON."""
    try:
        msgspec.convert(msgspec.to_builtins(message), type(message))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def decode_server(raw: bytes | str, text_bytes: int = TEXT_BYTES) -> ServerMessage | None:
    """What a server sent, None when its type is unknown. Raises ProtocolError."""
    return _decode(raw, SERVER, text_bytes)


def decode_client(raw: bytes | str, text_bytes: int = TEXT_BYTES) -> ClientMessage | None:
    """What a client sent, for tests and tools."""
    return _decode(raw, CLIENT, text_bytes)


def _decode(raw: bytes | str, kinds: dict[str, type[M]], text_bytes: int) -> M | None:
    tree = _parse(raw, text_bytes)
    if not isinstance(tree, dict) or not isinstance(tree.get("type"), str):
        raise ProtocolError("bad_request", "a message is a JSON object with a `type`, a string")
    kind = kinds.get(tree["type"])
    if kind is None:
        return None
    try:
        return msgspec.convert(tree, type=kind)
    except msgspec.ValidationError as error:
        raise ProtocolError("bad_request", str(error)) from None


def _parse(raw: bytes | str, text_bytes: int) -> Any:
    data = raw.encode(errors="surrogatepass") if isinstance(raw, str) else raw
    if len(data) > text_bytes:
        raise ProtocolError("message_too_large", f"a text message has at most {text_bytes} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ProtocolError("invalid_utf8", "a text message is UTF-8") from None
    try:
        tree = DECODER.decode(text)
        _check_depth(tree)
        json.dumps(tree, ensure_ascii=False).encode()
    except (json.JSONDecodeError, RecursionError, UnicodeEncodeError) as error:
        _refuse(f"not the JSON we take: {error}")
    return tree


def _check_depth(tree: Any, left: int = DEPTH) -> None:
    if not isinstance(tree, dict | list):
        return
    if not left:
        _refuse(f"objects and arrays inside each other more than {DEPTH} deep")
    for part in tree.values() if isinstance(tree, dict) else tree:
        _check_depth(part, left - 1)


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


def _refuse(text: str) -> NoReturn:
    raise ProtocolError("invalid_json", text)


DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_refuse
)
