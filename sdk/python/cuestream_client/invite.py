"""Who is invited holds no key: a backend that has it asks the server for a session, and hands over the answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from cuestream_client import rest
from cuestream_client.errors import ClientError, Unreachable

Invite: TypeAlias = Callable[[], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
"""Gives what `rest.invitation` gave on the backend; called in a worker thread, what it gives is awaited on the client's loop."""
NO_INVITATION = "invite must give the answer of POST /v1/sessions"


async def invited(invite: Invite, patience_s: float) -> Mapping[str, Any]:
    """One answer, checked. Raises Unreachable for what may pass, ClientError for what never becomes an invitation. Errors of the
    client's own family are the program's word."""
    try:
        async with asyncio.timeout(patience_s):
            answer = await _answer(invite)
    except TimeoutError:
        raise Unreachable(f"no invitation came within {patience_s:g} s") from None
    try:
        rest.parted(answer["urls"]["ws"])
        rest.bearing(answer["client_secret"]["value"])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ClientError(NO_INVITATION) from None
    return answer


async def _answer(invite: Invite) -> Mapping[str, Any]:
    """A backend of someone else's answers what it likes, also a page."""
    try:
        answer = await asyncio.to_thread(invite)
        return await answer if inspect.isawaitable(answer) else answer
    except ClientError:
        raise
    except ValueError as error:  # of what is no JSON
        raise ClientError(f"{NO_INVITATION}: {error}") from error
    except Exception as error:
        raise Unreachable(f"no invitation came: {type(error).__name__}: {error}") from error
