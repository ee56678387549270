"""JSON Schemas of structs, for every document that holds some."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec


def schemas_of(kinds: Iterable[Any], ref: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """A schema for each kind, and the named ones that they refer to; `ref` with {name} is how they do.

    What describes a struct is its docstring, on one line: how far the lines of a docstring are indented depends on the Python.
    """
    each, named = msgspec.json.schema_components(kinds, ref_template=ref)
    for schema in named.values():
        if "description" in schema:
            schema["description"] = " ".join(schema["description"].split())
    return list(each), named
