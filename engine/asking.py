"""Work that asks a backend, written once and done for one stream alone or for many together.

Such work is a generator: it yields requests, is sent their answers, and returns what it was for. `alone` answers each request
at once. `together` lets many go on side by side and asks the backend for all requests of a kind in one go. `done` does the work
of one stream in the way that its backend prefers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")


class Request(Protocol):
    """One thing to ask a backend. stage: of its kind; what has a lower one is asked first."""

    stage: ClassVar[int]

    def on(self, backend: Any) -> Any:
        """The answer of a backend to this alone."""
        ...


Asking: TypeAlias = Generator[Request, Any, T]


class Answering(Protocol):
    """A backend, as this module knows it."""

    @property
    def prefers_batches(self) -> bool:
        """Whether a batch of one is what it answers, and not what a request does `on` it."""
        ...

    def answer_all(self, asked: Sequence[Any]) -> list[Any]:
        """To each of some requests of one kind what it would be answered alone, but for the order of sums; each answer in memory
        of its own, since some are kept for long."""
        ...


def alone(backend: Any, asking: Asking[T]) -> T:
    """Do the work of one, a request at a time. Whatever is raised goes through."""
    answer = None
    while True:
        try:
            request = asking.send(answer)
        except StopIteration as end:
            done: T = end.value
            return done
        answer = request.on(backend)


def done(backend: Answering, asking: Asking[T]) -> T:
    """Do the work of one. Whatever is raised goes through."""
    if not backend.prefers_batches:
        return alone(backend, asking)
    (ended,) = together(backend, [asking])
    if isinstance(ended, Exception):
        raise ended
    return ended


def together(backend: Answering, askings: Sequence[Asking[T]]) -> list[T | Exception]:
    """What each returns or raises: one that fails does so alone.

    Of the kinds that somebody waits for, the lowest stage is answered first, for all who ask for it: who has less to ask waits
    for the others where their ways meet, so that each kind is asked for as seldom as can be.
    """
    ended: dict[int, T | Exception] = {}
    waiting: dict[int, Request] = {}

    def go_on(at: int, answer: Any) -> None:
        try:
            waiting[at] = askings[at].send(answer)
        except StopIteration as end:
            ended[at] = end.value
        except Exception as error:
            ended[at] = error

    for at in range(len(askings)):
        go_on(at, None)
    while waiting:
        kind = min({type(request) for request in waiting.values()}, key=lambda kind: kind.stage)
        those = [at for at, request in waiting.items() if type(request) is kind]
        for at, answer in zip(those, _answers(backend, [waiting.pop(at) for at in those]), strict=True):
            if isinstance(answer, Exception):
                ended[at] = answer
            else:
                go_on(at, answer)
    return [ended[at] for at in range(len(askings))]


def _answers(backend: Answering, asked: Sequence[Request]) -> list[Any]:
    """Answers, and in the place of one what it raised: when something fails together, each is asked for alone."""
    try:
        return backend.answer_all(asked)
    except Exception:
        return [_tried(backend, request) for request in asked]


def _tried(backend: Answering, request: Request) -> Any:
    try:
        return backend.answer_all([request])[0] if backend.prefers_batches else request.on(backend)
    except Exception as error:
        return error


def in_groups(
    asked: Sequence[R], like: Callable[[R], Hashable], answer: Callable[[list[R]], Iterable[A]]
) -> list[A]:
    """Answers in the order of asking; requests that are `like` each other are answered by one call."""
    groups = defaultdict[Hashable, list[int]](list)
    for at, request in enumerate(asked):
        groups[like(request)].append(at)
    answers: dict[int, A] = {}
    for places in groups.values():
        answers |= zip(places, answer([asked[at] for at in places]), strict=True)
    return [answers[at] for at in range(len(asked))]
