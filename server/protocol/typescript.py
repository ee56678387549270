"""The protocol as TypeScript: types of the messages from their JSON Schema, constants from the tables here."""

from __future__ import annotations

import json
from typing import Any, get_args

from server.protocol import PROTOCOL_MINOR, SUBPROTOCOL
from server.protocol.errors import CLOSES, FAULTS
from server.protocol.media import FIELDS, HEADER, KNOWN_FLAGS, SIZE, SOURCE, Extension, Flag, Kind, StreamId
from server.protocol.messages import ClientMessage, ServerMessage
from server.protocol.schemas import schemas_of
from server.protocol.values import SAFE_INTEGER

HEAD = "// Made by `python -m server.protocol.generate` from server/protocol. Do not edit.\n"
REF = "#/$defs/{name}"
LETTERS = {"B": 1, "H": 2, "I": 4, "Q": 8}
SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
SOURCE_FIELDS = {"newest_us": 0, "newest_step": 8, "age_steps": 12, "seed": 16, "revision": 24}
SIZE_FIELDS = {"width": 0, "height": 2}


def protocol_schema() -> dict[str, Any]:
    """JSON Schema of all messages; `ClientMessage` and `ServerMessage` are the two unions."""
    (client, server), defs = schemas_of((ClientMessage, ServerMessage), REF)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SUBPROTOCOL,
        "anyOf": [{"$ref": "#/$defs/ClientMessage"}, {"$ref": "#/$defs/ServerMessage"}],
        "$defs": dict(sorted(defs.items())) | {"ClientMessage": client, "ServerMessage": server},
    }


def typescript() -> str:
    """The text of sdk/js/src/protocol.ts."""
    schema = protocol_schema()["$defs"]
    types = [_interface(name, body) for name, body in schema.items() if "properties" in body]
    unions = [_union("ClientMessage", ClientMessage), _union("ServerMessage", ServerMessage)]
    return "\n".join([HEAD, *_constants(), *types, *unions])


def _interface(name: str, body: dict[str, Any]) -> str:
    required = set(body.get("required", ()))
    fields = [
        _comment(field, "  ") + f"  readonly {key}{'' if key in required else '?'}: {_type(field)};"
        for key, field in body["properties"].items()
    ]
    return _comment(body) + "\n".join([f"export interface {name} {{", *fields, "}", ""])


def _union(name: str, union: Any) -> str:
    return f"export type {name} =\n" + "\n".join(f"  | {kind.__name__}" for kind in get_args(union)) + ";\n"


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"].rsplit("/", 1)[1])
    if "enum" in field:
        return " | ".join(json.dumps(value) for value in field["enum"])
    if "anyOf" in field:
        return " | ".join(_type(part) for part in field["anyOf"])
    if field.get("type") == "array":
        return f"ReadonlyArray<{_type(field['items'])}>"
    return SIMPLE[field["type"]]


def _comment(body: dict[str, Any], indent: str = "") -> str:
    words = [body["description"]] if "description" in body else []
    low, high = (body.get(key) for key in ("minimum", "maximum"))
    if low is not None or high is not None:
        words.append(f"[{low}, {high}]")
    return f"{indent}/** {' '.join(words)} */\n" if words else ""


def _constants() -> list[str]:
    faults = {str(code): {"close": fault.close, "meaning": fault.meaning} for code, fault in FAULTS.items()}
    closes = {code: {"name": c.name, "action": c.action, "meaning": c.meaning} for code, c in CLOSES.items()}
    return [
        f"export const SUBPROTOCOL = {json.dumps(SUBPROTOCOL)};",
        f"export const PROTOCOL_MINOR = {PROTOCOL_MINOR};",
        f"export const SAFE_INTEGER = {SAFE_INTEGER};",
        f"export const HEADER_BYTES = {HEADER.size};\n",
        _table("HEADER_OFFSETS", header_offsets()),
        _table("KIND", {kind.name: kind.value for kind in Kind}),
        _table("FLAG", {str(flag.name): flag.value for flag in Flag}),
        f"export const KNOWN_FLAGS = {KNOWN_FLAGS.value};\n",
        _table("STREAM", {stream.name: stream.value for stream in StreamId}),
        _table("EXTENSION", {extension.name: extension.value for extension in Extension}),
        f"export const SOURCE_BYTES = {SOURCE.size};",
        _table("SOURCE_OFFSETS", SOURCE_FIELDS),
        f"export const SIZE_BYTES = {SIZE.size};",
        _table("SIZE_OFFSETS", SIZE_FIELDS),
        "/** Error codes; `close`: the code the connection is closed with after it, null when it lives on. */",
        _table("ERRORS", faults),
        "export type ErrorCode = keyof typeof ERRORS;\n",
        'export type CloseAction = "resume" | "retry" | "stop";\n',
        "/** Close codes and what a client may do after each. */",
        _table("CLOSES", closes),
    ]


def header_offsets() -> dict[str, int]:
    """Field of the header to its first byte."""
    offsets, at = {}, 0
    for name, letter in FIELDS.items():
        offsets[name] = at
        at += LETTERS[letter]
    return offsets


def _table(name: str, table: dict[Any, Any]) -> str:
    rows = "".join(f"  {key}: {_value(value)},\n" for key, value in table.items())
    return f"export const {name} = {{\n{rows}}} as const;\n"


def _value(value: Any) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{ " + ", ".join(f"{key}: {json.dumps(part)}" for key, part in value.items()) + " }"
