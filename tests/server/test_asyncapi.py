"""The AsyncAPI document: every message of both sides is in it, every reference leads somewhere, its schemas fit real messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served
from shell_client import ask

from server.protocol.asyncapi import asyncapi
from server.protocol.messages import CLIENT, SERVER

DOCUMENT = asyncapi()
CONTROL = json.loads((Path(__file__).parents[2] / "docs" / "golden" / "control.json").read_text())


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(found := value.get("$ref"), str):
            yield found
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def at(reference: str) -> Any:
    value: Any = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        value = value[name]
    return value


def test_every_reference_leads_somewhere() -> None:
    found = list(references(DOCUMENT))
    assert found
    for reference in found:
        assert at(reference), reference


@pytest.mark.parametrize(
    ("way", "known", "media"), [("receive", CLIENT, "media.up"), ("send", SERVER, "media.down")]
)
def test_each_operation_has_the_messages_of_its_side(way: str, known: dict[str, Any], media: str) -> None:
    operation = DOCUMENT["operations"][way]
    assert operation["action"] == way
    assert [at(each["$ref"])["$ref"].rpartition("/")[2] for each in operation["messages"]] == [*known, media]


@pytest.mark.parametrize(
    "vector", [each for each in CONTROL if each["canonical"]], ids=lambda each: each["name"]
)
def test_the_golden_messages_have_the_fields_of_their_schemas(vector: dict[str, Any]) -> None:
    message = json.loads(vector["text"])
    schema = at(DOCUMENT["components"]["messages"][message["type"]]["payload"]["$ref"])
    assert set(schema["required"]) <= message.keys() <= schema["properties"].keys()
    assert schema["properties"]["type"]["enum"] == [message["type"]]


def test_a_server_serves_what_the_repository_holds(served: Served) -> None:
    held = json.loads((Path(__file__).parents[2] / "docs" / "asyncapi.json").read_text())
    assert ask("GET", f"{served.http}/asyncapi.json") == (200, held)
