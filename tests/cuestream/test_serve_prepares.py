"""`cuestream serve --provider torch`: what sessions play by was made before the first one came."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cuestream.cli import app
from engine.backends.lockstep import LockstepBackend
from engine.batcher import advance_all
from engine.errors import CuestreamError, NoRoom
from engine.player import ModelPlayer
from engine.spec import StreamPolicy
from engine.together import take_all
from export.checkpoint import Package, load_model
from server.core.orders import Orders, Shown
from server.engine_thread.voices import Voice, Voices
from server.settings import Settings

Served = tuple[Any, Settings]


class Captured:
    """In place of CUDA graphs: what was made, and it plays."""

    def __init__(self, backend: LockstepBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.backend, self.made = backend, list[str]()
        self.works = set[Any]()
        monkeypatch.setattr(backend, "capture", self._capture)
        monkeypatch.setattr(backend, "_graphs", True)
        monkeypatch.setattr(backend, "_captured_work", self._work)
        monkeypatch.setattr(backend, "_sent_back", lambda tensor: [row.copy() for row in tensor.numpy()])

    def _capture(self, work: Any) -> tuple[Any, None]:
        self.made.append(work.__qualname__)
        return SimpleNamespace(replay=work), None

    def _work(self, work: Any, inputs: Any) -> None:
        """Work on frames and codes is run; of what is captured the key is kept."""
        self.works.add((work, *((given.dtype, given.room) for given in inputs)))

    @property
    def everything(self) -> tuple[int, int, int]:
        pools = sum(map(len, self.backend._pools.values()))
        return pools, len(self.made), len(self.works)


def served(player: ModelPlayer, monkeypatch: pytest.MonkeyPatch, *options: str) -> Served:
    """What `cuestream serve` serves, and by which settings. The player's backend has the places that it is told."""
    found = list[Served]()

    def find_player(_name: str, _threads: int, _provider: str, places: int) -> ModelPlayer:
        player.backend.places = places
        return player

    def make_app(player: Any, settings: Settings, *_: Any) -> Any:
        found.append((player, settings))
        return SimpleNamespace()

    monkeypatch.setattr("cuestream.players.find_player", find_player)
    monkeypatch.setattr("server.app.make_app", make_app)
    monkeypatch.setattr("server.http.serving.listen", lambda *_: [])
    monkeypatch.setattr("server.http.serving.make_server", lambda *_: SimpleNamespace(run=lambda _: None))
    done = CliRunner().invoke(app, ["serve", "--provider", "torch", "--max-sessions", "1", *options])
    if isinstance(done.exception, CuestreamError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return found[0]


def listened(player: Any, policy: StreamPolicy, room_s: float) -> None:
    """What a session does in its first second."""
    voice, side = Voice(player, policy, room_s=room_s), player.side
    for step in range(60):
        if step % 5 == 0:
            voice.stream.push(np.full((side, side, 3), step * 4, np.uint8))
        assert advance_all([(voice.stream, 1)]) == [None]
        assert not isinstance(take_all([voice.stream])[0], Exception)


def test_a_device_without_room_for_both_serves_what_is_recommended(
    nano_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LockstepBackend(load_model(nano_package), "cpu", torch.float32)
    captured, new_caches = Captured(backend, monkeypatch), backend.new_caches

    def guided_alone(segments: int, guided: bool, positions: int) -> Any:
        if not guided:
            raise torch.OutOfMemoryError
        return new_caches(segments, guided, positions)

    monkeypatch.setattr(backend, "new_caches", guided_alone)
    player, settings = served(ModelPlayer(backend, StreamPolicy(short_term_s=2.0)), monkeypatch)
    made = captured.everything
    listened(player, player.defaults, settings.room_s)
    assert captured.everything == made
    assert not backend._preparing
    with pytest.raises(NoRoom, match="graphs of 1 streams do not fit"):
        backend.prepare(StreamPolicy(guidance=1.0))


def test_a_device_without_room_for_its_sessions_says_what_to_choose(
    nano_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LockstepBackend(load_model(nano_package), "cpu", torch.float32)

    def full(*_: Any) -> None:
        raise NoRoom("2 streams more do not fit the memory of cuda", 5.0)

    monkeypatch.setattr(backend, "new_caches", full)
    with pytest.raises(
        CuestreamError, match="2 streams more do not fit the memory of cuda; serve fewer: --max-sessions"
    ):
        served(ModelPlayer(backend), monkeypatch)


@pytest.mark.parametrize("options", [(), ("--effort", "light", "--chunk-ms", "200", "--lead-ms", "600")])
def test_a_session_finds_everything_made(
    nano_package: Package, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """With the guidance that the model's makers recommend and with none."""
    backend = LockstepBackend(load_model(nano_package), "cpu", torch.float32)
    captured = Captured(backend, monkeypatch)
    player, settings = served(ModelPlayer(backend, StreamPolicy(short_term_s=2.0)), monkeypatch, *options)
    made = captured.everything
    assert made[1] > 0
    for policy in (player.defaults, StreamPolicy(guidance=1.0, chunk_steps=player.defaults.chunk_steps)):
        listened(player, policy, settings.room_s)
        assert captured.everything == made


def test_who_begins_anew_on_a_full_server_finds_everything_made(
    nano_package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new stream has the place of the one before, of which there is no other."""
    backend = LockstepBackend(load_model(nano_package), "cpu", torch.float32)
    captured = Captured(backend, monkeypatch)
    model = ModelPlayer(backend, StreamPolicy(short_term_s=2.0))
    player, settings = served(model, monkeypatch)
    made = captured.everything
    voices, voice = Voices(lambda: 0.0), Voice(player, player.defaults, room_s=settings.room_s)
    voices.open("a", voice)
    shown = Shown(np.zeros((player.side, player.side, 3), np.uint8), 0)
    for take in range(3):
        wanted = player.defaults.chunk_steps * player.sample_rate // player.code_rate
        heard = voices.tick({"a": Orders(frame=shown, wanted=wanted, reset=take or None)})
        while not (heard.get("a") and heard["a"].music):
            heard = voices.tick({})
        assert heard["a"].failed is None
        assert [(piece.take, piece.first) for piece in heard["a"].music] == [(take, 0)]
    assert [pool.places for pools in backend._pools.values() for pool in pools] == [1] * made[0]
    assert captured.everything == made
