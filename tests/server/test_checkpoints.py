"""A server that is killed or started again: what it kept, what its client hears after it, and what a folder may hold."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import signal
import struct
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec import structs
from process import free_port, plays_at, run, serve_tiny
from rig import RATE, Rig, TonePlayer, black, by_index, check_in_order, config, rig
from safetensors.numpy import load, save
from served import Serve
from shell_client import Client, ask, soon

from engine.backends.lockstep import LockstepBackend
from engine.errors import PackageError
from engine.player import ModelPlayer
from engine.stream import ScoreStream
from engine.synthetic import SyntheticPlayer
from export.checkpoint import Package, load_model
from server.access.secrets import Door, Identity, new_identity
from server.checkpoints.kept import About, Kept
from server.checkpoints.shelf import KEY_FILE, SUFFIX, Shelf, ShelfError, ShelfLimits
from server.core.checkpoint import Checkpoint
from server.core.controls import Gain, Hold
from server.core.session import Session
from server.engine_thread.voices import Voice
from server.metrics import Metrics
from server.protocol.messages import AudioFormat
from server.sessions.host import Host
from server.settings import Settings
from server.wire_controls import config_of

LIMITS = ShelfLimits(files=3, age_s=30.0)
NOW_S = 1_000_000.0
MODEL = TonePlayer().digest


def checkpoint(seconds: float = 3.0) -> Checkpoint:
    played = rig()
    played.run(seconds)
    assert played.session.checkpoint is not None
    return played.session.checkpoint


def kept(name: str = "s-1", saved_s: float = NOW_S, consumed: int = 5, model: str = MODEL) -> Kept:
    form = AudioFormat("flac", 48_000, 1)
    about = About(
        name,
        saved_s,
        3.0,
        consumed,
        config_of(TonePlayer.defaults),
        form,
        ((0, 0, 0), (1, 0, 2)),
        ((5, 7),),
        model=model,
    )
    return Kept(about, checkpoint())


def restored(one: Checkpoint, lost_s: float = 2.0) -> Rig:
    """A session that goes on from what was kept."""
    voice = Voice(TonePlayer(), one.policy, checkpoint=one)  # type: ignore[arg-type]
    return Rig(Session.restored(config(), one, 0.0, lost_s=lost_s), voice)


def test_a_session_that_goes_on_takes_one_place(nano_package: Package) -> None:
    """Of a device with room for one stream, which makes more room for a second."""
    backend = LockstepBackend(load_model(nano_package), "cpu", torch.float32, places=1)
    player = ModelPlayer(backend)
    blob = ScoreStream(backend, player.defaults).snapshot()
    Voice(player, player.defaults, checkpoint=replace(checkpoint(), policy=player.defaults, stream=blob))
    assert [pool.places for pools in backend._pools.values() for pool in pools] == [1, 1]


class Shelved:
    """A shelf on a clock, and what it said that it wrote."""

    def __init__(self, folder: Path, limits: ShelfLimits = LIMITS) -> None:
        self.metrics, self.now_s = Metrics(), NOW_S
        self.said: list[tuple[str, int]] = []
        self._news = threading.Condition()
        self.shelf = Shelf(folder, limits, self.metrics, self._note, MODEL, lambda: self.now_s)
        self.key = self.shelf.open()

    def _note(self, name: str, consumed: int) -> None:
        with self._news:
            self.said.append((name, consumed))
            self._news.notify_all()

    def put(self, one: Kept) -> None:
        """And wait until it was followed."""
        count = len(self.said)
        self.shelf.put(one)
        with self._news:
            assert self._news.wait_for(lambda: len(self.said) > count, 10)

    def counted(self, result: str) -> float:
        return (
            self.metrics.registry.get_sample_value("cuestream_checkpoints_total", {"result": result}) or 0.0
        )

    def __enter__(self) -> Shelved:
        return self

    def __exit__(self, *_: object) -> None:
        self.shelf.close()


# --- the law


def test_restored_from_a_file_equals_continued() -> None:
    """What follows the last sample that was heard is, sample for sample, what would have followed it."""
    through, changed = rig(), rig()
    for played in (through, changed):
        played.session.control(0.0, Gain(-6.0))
    whole = by_index(through.run(12))
    changed.run(4.5)
    one = changed.session.checkpoint
    assert one is not None
    again = Kept.from_bytes(Kept(kept().about, one).to_bytes())
    assert again.about == kept().about
    went_on = restored(again.checkpoint)
    heard = changed.chunks[-1].first_sample + 640
    went_on.session.resume(0.0, heard)
    chunks = went_on.run(4)
    check_in_order(chunks, heard)
    assert len(chunks) > 150
    assert not any(chunk.discontinuity or chunk.concealed for chunk in chunks)
    for index, samples in by_index(chunks).items():
        assert np.array_equal(samples, whole[index])
    told = went_on.kinds("restored")
    assert told == [{"samples": heard - one.placed, "left_out": False}]


def test_much_that_was_lost_is_left_out_and_told_and_no_index_comes_twice() -> None:
    one = checkpoint()
    again = restored(one, lost_s=11.0)
    heard = one.placed + 10 * RATE + 100
    again.session.resume(0.0, heard)
    made_before = again.voice.stream.now
    chunks = again.run(2)
    assert heard <= chunks[0].first_sample < heard + 640
    assert chunks[0].discontinuity
    check_in_order(chunks, chunks[0].first_sample)
    assert again.kinds("restored") == [{"samples": 10 * RATE + 100, "left_out": True}]
    assert again.voice.stream.now - made_before < 2.5 * 50, "the lost music is not made again"


@pytest.mark.parametrize("verb", ["pause", "stop"])
def test_a_session_that_is_silent_stays_silent_until_it_is_played(verb: str) -> None:
    played = rig()
    played.run(3)
    getattr(played.session, verb)(played.now)
    played.run(1.5)
    assert played.session.checkpoint is not None
    one = Checkpoint.from_bytes(played.session.checkpoint.to_bytes())
    assert one.state == {"pause": "paused", "stop": "stopped"}[verb]
    again = restored(one)
    again.session.resume(0.0, one.placed)
    assert again.run(1) == []
    again.session.frame(again.now, np.zeros((8, 8, 3), np.uint8))
    again.session.play(again.now)
    check_in_order(again.run(1), one.placed)


@pytest.mark.parametrize("verb", ["reset_context", "stop"])
def test_new_music_of_a_session_that_was_held_begins_with_the_next_picture(verb: str) -> None:
    """The picture that was held stayed with the server that is gone; music that goes on still knows it, another one cannot."""
    played = rig()
    played.session.control(0.0, Hold(True))
    played.run(1.5)
    assert played.session.checkpoint is not None
    again = restored(played.session.checkpoint)
    again.session.control(0.0, Hold(True))
    again.session.resume(0.0, played.session.checkpoint.placed)
    assert not again.session.intake.looks
    again.session.frame(again.now, black())
    getattr(again.session, verb)(again.now)
    again.run(1)
    again.session.play(again.now)
    assert again.session.intake.looks
    again.session.frame(again.now, black())
    again.run(1)
    assert again.session.playout.take == 1
    assert not again.session.playout.concealing


def test_a_checkpoint_of_the_format_before_is_read_and_no_other_is() -> None:
    one = checkpoint()
    blob = one.to_bytes()
    length = int.from_bytes(blob[:8], "little")
    meta = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["checkpoint"])
    for span in meta["spans"]:
        assert "music_first" not in span
        span["music_first"] = 640
    found = {
        number: save(load(blob), {"checkpoint": json.dumps(meta | {"format": number})})
        for number in (1, 2, 4)
    }
    again = Checkpoint.from_bytes(found[2])
    assert (again.spans, again.placed, again.policy) == (one.spans, one.placed, one.policy)
    for number in (1, 4):
        with pytest.raises(PackageError, match=f"format {number}, not 3"):
            Checkpoint.from_bytes(found[number])


# --- the folder


def test_what_is_put_is_found_by_the_next_server(tmp_path: Path) -> None:
    with Shelved(tmp_path / "new" / "folder") as first:
        first.put(kept(consumed=5))
        first.put(kept(consumed=6))
        first.put(kept("s-2"))
        first.shelf.drop("s-2")
        assert first.said == [("s-1", 5), ("s-1", 6), ("s-2", 5)]
        with pytest.raises(ShelfError, match="another server"):
            Shelved(tmp_path / "new" / "folder")
    with Shelved(tmp_path / "new" / "folder") as second:
        assert second.key == first.key
        found = second.shelf.waiting("s-1")
        assert found is not None
        assert found.about.consumed == 6
        assert found.checkpoint.stream == kept().checkpoint.stream
        assert second.shelf.waiting("s-2") is None
    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "new").rglob("*")}
    assert modes == {0}, "nobody else may read it"


def test_an_old_checkpoint_is_forgotten(tmp_path: Path) -> None:
    with Shelved(tmp_path) as first:
        first.put(kept())
    with Shelved(tmp_path) as second:
        second.now_s += LIMITS.age_s + 1
        assert second.shelf.waiting("s-1") is None
        assert second.counted("expired") == 1
    assert not list(tmp_path.glob("*.session"))


def test_a_folder_is_bounded_by_files_and_by_bytes(tmp_path: Path) -> None:
    size = len(kept().to_bytes())
    for name, limits, fits in (
        ("files", LIMITS, 3),
        ("bytes", replace(LIMITS, files=9, total_bytes=size * 5 // 2), 2),
    ):
        with Shelved(tmp_path / name, limits) as full:
            for number in range(5):
                full.put(kept(f"s-{number}"))
            assert (full.counted("written"), full.counted("no_room")) == (fits, 5 - fits)
            full.put(kept("s-0"))  # whoever is here already is kept on
            assert full.counted("written") == fits + 1
        assert len(list((tmp_path / name).glob("*.session"))) == fits
        few = replace(limits, files=1)
        with Shelved(tmp_path / name, few):
            assert len(list((tmp_path / name).glob("*.session"))) == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_file_is_counted_and_removed(tmp_path: Path, damage: str) -> None:
    blob = kept().to_bytes()
    half = len(blob) // 2
    broken = {
        "cut": blob[:half],
        "flipped": blob[:half] + bytes([blob[half] ^ 1]) + blob[half + 1 :],
        "empty": b"",
        "other": b"CUES" + bytes(100),
    }[damage]
    with pytest.raises(PackageError, match="kept session"):
        Kept.from_bytes(broken)
    (tmp_path / "s-1.session").write_bytes(broken)
    (tmp_path / "s-2.session.new").write_bytes(blob)
    with Shelved(tmp_path) as shelved:
        assert shelved.shelf.waiting("s-1") is None
        assert shelved.counted("damaged") == 1
    assert {path.name for path in tmp_path.iterdir()} == {KEY_FILE, "lock"}


def test_names_that_some_systems_take_for_one_or_for_a_device_have_their_own_files(tmp_path: Path) -> None:
    """macOS and Windows do not tell A from a in a name, and Windows takes `con.session` for the console."""
    with Shelved(tmp_path) as shelved:
        for name in ("show", "Show", "con"):
            shelved.put(kept(name))
        names = [path.stem.lower() for path in tmp_path.glob("*.session")]
    assert len(set(names)) == 3
    assert "con" not in names


def test_a_folder_of_such_a_name_is_left_alone_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("old.session", "old.session.new")
    for name in names:
        (tmp_path / name).mkdir()
    with Shelved(tmp_path) as shelved:
        shelved.put(kept())
    with Shelved(tmp_path) as again:
        assert again.shelf.waiting("s-1")
    for name in names:
        assert (tmp_path / name).is_dir()
        assert caplog.text.count(f"{name} is left alone: it is not a file") == 2


def test_what_another_model_played_is_counted_said_and_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Shelved(tmp_path) as shelved:
        for name, model in (("s-1", "another"), ("s-2", ""), ("s-3", MODEL)):
            shelved.put(kept(name, model=model))
    with Shelved(tmp_path) as again:
        assert [again.shelf.waiting(f"s-{n}") is not None for n in (1, 2, 3)] == [False, True, True]
        assert again.counted("other_model") == 1
    assert re.search(r"s-1-.{8}\.session is removed: another model played it", caplog.text)
    assert not list(tmp_path.glob("s-1-*"))


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ShelfError, match="cannot be kept in"):
        Shelved(tmp_path / "file")
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(ShelfError, match="not a key of 32 bytes"):
        Shelved(tmp_path)


def test_a_disk_that_is_full_costs_the_way_back_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Shelved(tmp_path) as shelved:
        shelved.put(kept())
        (path,) = tmp_path.glob("*.session")
        path.with_name(f"{path.name}.new").mkdir()  # what cannot be written to
        for times in (1, 2):
            shelved.put(kept())
            assert shelved.counted("failed") == times
        assert caplog.text.count(f"{path.name} cannot be written: Is a directory") == 1
        shelved.put(kept("s-2"))
        assert shelved.counted("written") == 2


# --- over a line


def test_after_kill_9_the_client_goes_on_in_the_next_server(tmp_path: Path) -> None:
    port = free_port()
    where, address = ("--port", str(port), "--checkpoints", str(tmp_path)), f"ws://127.0.0.1:{port}/v1/stream"
    with serve_tiny(*where) as process:
        assert plays_at(process) == port
        with Client(address) as client:
            created = client.start(audio={"codec": "pcm_s16", "sample_rate": 48000, "channels": 1})
            client.play()
            client.send("session.update", config={"gain_db": -7.0})
            client.until("session.updated")
            before = client.consumed_at_least(3)
            client.hear(client.at + 4800)
            process.send_signal(signal.SIGKILL)
            client.hear_the_rest()
    assert process.wait(15) == -signal.SIGKILL
    with serve_tiny(*where) as process:
        assert plays_at(process) == port
        with Client(address) as again:
            resumed = again.resume(before["handle"], client.at)
            assert resumed["session_id"] == created["session_id"]
            assert resumed["config"]["gain_db"] == -7.0
            assert resumed["audio"]["channels"] == 1
            assert resumed["first_sample"] == client.at
            assert before["consumed_messages"] <= resumed["consumed_messages"]
            warning = again.until("warning", code="restored")
            assert "made again" in warning["text"]
            again.show()
            again.hear(client.at + 48_000)
            at = client.at
            for media in again.media:
                assert media.ts == at
                at += media.dur
            page = ask("GET", f"http://127.0.0.1:{port}/metrics")[1]
            assert 'cuestream_checkpoints_total{result="restored"} 1.0' in page
            again.send("session.end", fade_ms=0)
            assert again.closed() == 1000
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert not list(tmp_path.glob("*.session")), "a session that ended leaves nothing"


BREAKS = """
import sys
from pathlib import Path
from threading import Event
from cuestream.__main__ import main
from engine.stream import ScoreStream

from server.engine_thread import runner
from server.sessions import host

ask, folder = ScoreStream.ask, Path(sys.argv[-1])
runner.STEP_LIMIT_S, host.DEAD_AFTER_S = 2.0, 1.0

def asked(*given):
    if (folder / "lost").exists():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if (folder / "hangs").exists():
        Event().wait()
    return ask(*given)

ScoreStream.ask = asked
main()
"""


LOST = "the engine ended: DeviceLost: the device is lost: CUDA error: an illegal memory access"


@pytest.mark.parametrize(
    ("fault", "keeps", "closes", "why"),
    [
        ("lost", True, 1012, LOST),
        ("lost", False, 1011, LOST),
        ("hangs", True, 1012, "a step of the engine will not end"),
    ],
)
def test_a_server_without_an_engine_ends_and_what_it_kept_goes_on(
    tmp_path: Path, fault: str, keeps: bool, closes: int, why: str
) -> None:
    port = free_port()
    kept = ("--checkpoints", str(tmp_path)) if keeps else ("--outputs", str(tmp_path))
    options = ("serve", "--model", "random-tiny", "--threads", "1", "--port", str(port), *kept)
    with run(*options, program=BREAKS) as process:
        assert plays_at(process) == port
        with Client(f"ws://127.0.0.1:{port}/v1/stream") as client:
            client.start()
            client.play()
            handle = client.consumed_at_least(1)["handle"] if keeps else ""
            client.hear(client.at + 4800)
            (tmp_path / fault).touch()
            assert client.closed() == closes
        assert process.wait(15) == 1
        assert process.stderr is not None
        assert why in process.stderr.read()
    (tmp_path / fault).unlink()
    if keeps:
        with run(*options, program=BREAKS) as process:
            assert plays_at(process) == port
            with Client(f"ws://127.0.0.1:{port}/v1/stream") as again:
                first = again.resume(handle, client.at)["first_sample"]
                again.show()
                again.hear(first + 9600)
            process.terminate()
        # what was made up for longer than is made again is not heard twice
        assert client.at <= first < client.at + (960 if fault == "hangs" else 1)


@pytest.mark.parametrize("player", [None, SyntheticPlayer()], ids=["tiny", "synthetic"])
def test_1012_a_server_that_restarts_keeps_every_session_as_it_is(
    serve: Serve, tmp_path: Path, player: Any
) -> None:
    with (
        serve(player=player, checkpoints=tmp_path) as served,
        Client(served.ws) as client,
        Client(served.ws) as late,
    ):
        client.start()
        client.play()
        handle = client.until("resume.handle")["handle"]
        served.leave()
        assert client.until("go_away")["reason"] == "restarting"
        late.send("session.start", protocol_minor=0)
        assert late.closed() == 1012
        assert client.closed() == 1012
        assert client.messages[-1]["code"] == "restarting"
    with serve(player=player, checkpoints=tmp_path) as served, Client(served.ws) as again:
        resumed = again.resume(handle, client.at)
        assert resumed["first_sample"] == client.at
        again.show()
        again.hear(client.at + 9600)
        assert again.media[0].ts == client.at


def test_a_client_hears_nothing_beyond_the_checkpoint_of_a_restart_however_long_writing_it_takes(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.settings.SNAPSHOT_EVERY_S", 1000.0)  # but for the one that a restart asks for
    told, write = threading.Event(), Shelf._write

    def slowly(shelf: Shelf, *about: Any) -> str:
        told.wait(1.0)
        return write(shelf, *about)

    with serve(player=SyntheticPlayer(), checkpoints=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.play()
        handle = client.until("resume.handle")["handle"]
        monkeypatch.setattr(Shelf, "_write", slowly)
        served.leave()
        assert client.closed() == 1012
        with Client(served.ws) as early:  # which the next server is for
            early.come_back(handle, client.at)
            assert early.closed() == 1012
            assert [message.get("code") for message in early.messages] == ["restarting"]
        told.set()
    with serve(player=SyntheticPlayer(), checkpoints=tmp_path) as served, Client(served.ws) as again:
        assert again.resume(handle, client.at)["first_sample"] == client.at
        again.show()
        again.hear(client.at + 9600)
        assert not [message for message in again.messages if message["type"] == "warning"]


def test_a_clock_that_is_set_while_a_server_plays_costs_no_session(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that learns the time after it booted, or one that slept, whose monotonic clock stood still."""
    read, set_by_s = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: read() + set_by_s)
    with serve(checkpoints=tmp_path) as served, Client(served.ws) as client:
        client.start()
        client.play()
        set_by_s = 3600.0
        client.messages.clear()
        handles = [client.until("resume.handle")["handle"] for _ in range(2)]
        served.leave()
        assert client.closed() == 1012
    (file,) = tmp_path.glob(f"*{SUFFIX}")
    assert Kept.from_bytes(file.read_bytes()).about.saved_s > read() + 3000
    with serve(checkpoints=tmp_path) as served, Client(served.ws) as again:
        assert again.resume(handles[-1], client.at)["first_sample"] == client.at


def test_a_session_that_goes_on_is_looked_after_at_once(tmp_path: Path) -> None:
    """Not when an idle server would look again."""
    with Shelved(tmp_path, replace(LIMITS, age_s=60.0)) as shelved:
        shelved.put(kept(saved_s=time.time()))

    async def comes_back() -> None:
        host = Host(TonePlayer(), Settings(checkpoints=tmp_path))  # type: ignore[arg-type]
        await host.start()
        await asyncio.sleep(0.05)
        assert host._ticker is not None
        idle_s = host._ticker._due_s
        assert host.find_again("s-1") is not None
        soon_s = host._ticker._due_s
        await host.stop()
        assert soon_s < host.monotonic() < idle_s

    asyncio.run(comes_back())


def test_a_handle_of_another_session_of_the_name_does_not_wake_the_one_that_is_kept(
    serve: Serve, tmp_path: Path
) -> None:
    with serve(checkpoints=tmp_path) as served, Client(served.ws) as client:
        name = client.start()["session_id"]
        client.play()
        handle = client.until("resume.handle")["handle"]
        client.drop()
    with serve(checkpoints=tmp_path) as served:
        forged = served.host.door.handle(new_identity(name), served.host.monotonic())
        with Client(served.ws) as other:
            asked = {"received_through_sample": 0, "played_through_sample": 0}
            other.send("session.resume", protocol_minor=0, handle=forged, **asked)
            assert other.closed() == 4404
        with Client(served.ws) as again:
            again.resume(handle, client.at)


def test_a_session_that_waits_for_its_client_after_a_restart_can_be_ended(
    serve: Serve, tmp_path: Path
) -> None:
    with serve(checkpoints=tmp_path) as served, Client(served.ws) as client:
        name = client.start()["session_id"]
        client.play()
        handle = client.until("resume.handle")["handle"]
        soon(lambda: list(tmp_path.glob("*.session")))
        client.drop()
    with serve(checkpoints=tmp_path) as served:
        one = f"{served.http}/v1/sessions/{name}"
        assert ask("POST", f"{served.http}/v1/sessions", {"session_id": name})[0] == 409
        assert [ask("DELETE", one)[0] for _ in range(2)] == [204, 404]
        with Client(served.ws) as again:
            again.come_back(handle)
            assert again.closed() == 4404
        assert ask("POST", f"{served.http}/v1/sessions", {"session_id": name})[0] == 201
        soon(lambda: not list(tmp_path.glob("*.session")))


def test_a_session_that_was_kept_without_a_nonce_is_read_with_none() -> None:
    about = msgspec.json.decode(msgspec.json.encode(kept().about))
    assert about.pop("nonce") == ""
    assert msgspec.convert(about, About, strict=False) == kept().about
    door = Door(None, 30, bytes(32))
    body = (
        base64.urlsafe_b64encode(msgspec.json.encode({"session": "s-1", "made_s": 1.0})).decode().rstrip("=")
    )
    before = f"{body}.{door._sign('resume', body)}"
    assert door.session_of(before, 2.0) == (Identity("s-1", kept().about.nonce), True)


def test_what_could_not_be_turned_yet_when_a_session_was_kept_is_as_it_played() -> None:
    one = kept()
    one = replace(one, checkpoint=replace(one.checkpoint, policy=replace(one.checkpoint.policy, top_k=7)))
    written = msgspec.to_builtins(one.about)
    written["config"] |= {"guidance": 4.5, "later": 1}
    for name in ("energy", "mute", "top_k"):
        del written["config"][name]
    del written["config"]["duck"]["attack_ms"]
    again = Kept.from_bytes(sealed(written, one.checkpoint.to_bytes()))
    config = one.about.config
    assert again.about.config == structs.replace(config, guidance=4.5, top_k=7)
    others: tuple[Any, ...] = (written | {"config": 1}, written | {"config": {"guidance": 99}}, {}, [])
    for broken in others:
        with pytest.raises(PackageError, match="another version"):
            Kept.from_bytes(sealed(broken, one.checkpoint.to_bytes()))


def sealed(about: Any, checkpoint: bytes) -> bytes:
    said = msgspec.json.encode(about)
    rest = struct.pack("<I", len(said)) + said + checkpoint
    return b"CUES" + struct.pack("<I", zlib.crc32(rest)) + rest


def test_messages_that_no_checkpoint_knows_are_not_confirmed(
    serve: Serve, tmp_path: Path, tiny_player: Any
) -> None:
    """A client forgets what was confirmed; after a crash nobody else knows it."""
    with serve(checkpoints=tmp_path) as served, Client(served.ws) as client:
        client.start()
        hosted = next(iter(served.host.sessions.values()))
        with contextlib.closing(_Stuck(served.host.shelf)):
            for _ in range(5):
                client.send("ping", t_us=0)
                client.until("pong")
            client.until("resume.handle")
            told = client.until("resume.handle")["consumed_messages"]
            assert told < hosted.consumed == 6
        assert client.consumed_at_least(6)


class _Stuck:
    """A disk that takes its time."""

    def __init__(self, shelf: Any) -> None:
        self._shelf, self._write = shelf, shelf._write
        self._goes_on = threading.Event()
        shelf._write = self._wait

    def _wait(self, name: str, blob: bytes) -> str:
        self._goes_on.wait(20)
        return str(self._write(name, blob))

    def close(self) -> None:
        self._shelf._write = self._write
        self._goes_on.set()
