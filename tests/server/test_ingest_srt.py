"""SRT as a source: called and waited for, with and without a passphrase; what is refused, what breaks, what is never said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from flashing import FPS, write_video
from ingest_rig import SYNTHETIC, feed, hears_both_tones, limits, state_of
from process import free_port, run
from served import Serve, Served
from shell_client import Client, ask
from srt_rig import COPY, SENDS, needs_srt, sender

from server.ingest.address import Forbidden, parse, shown_of
from server.ingest.checking import check
from server.ingest.limits import IngestLimits
from server.ingest.pipe import Job
from server.ingest.srt import command_of, is_bound
from server.system.srt import lacking

PUBLIC = "93.184.216.34"
SECRET = "a-passphrase-of-ours"
ASKED = "%23!::r=film,m=request"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "flash.ts"
    write_video(path, 4 * FPS, "mpegts", beeps=True)
    return path


def sends_once(film: Path, url: str) -> int:
    """How a program ends that sends the film."""
    command = [*SENDS, "-i", str(film), *COPY, url]
    return subprocess.run(command, timeout=20).returncode


def descendants(pid: int) -> list[int]:
    """Of a process, those it started, those these started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [int(child) for child in children] + [
        each for child in children for each in descendants(int(child))
    ]


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def is_gone(pid: int) -> bool:
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        try:
            if Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
                return True  # nobody asked for how it ended
        except OSError:
            return True
        time.sleep(0.02)
    return False


def programs_of(served: Served) -> list[int]:
    """The worker and what it started."""
    (feeding,) = served.app.state.feedings.running.values()
    assert feeding.pid is not None
    return [feeding.pid, *descendants(feeding.pid)]


@needs_srt
def test_a_sender_is_called_with_its_passphrase_and_stream(serve: Serve, film: Path) -> None:
    port = free_port()
    with (
        serve(SYNTHETIC, ingest=limits(attempts=100)) as served,
        sender(film, f"srt://127.0.0.1:{port}?mode=listener&passphrase={SECRET}"),
    ):
        url = f"srt://127.0.0.1:{port}?passphrase={SECRET}&pbkeylen=32&latency=60000&streamid={ASKED}"
        status, one, about = feed(served, url)
        assert (status, about["url"]) == (201, f"srt://127.0.0.1:{port}")
        assert hears_both_tones(one)
        worker, *programs = programs_of(served)
        assert len(programs) == 1
        assert SECRET not in str(ask("GET", f"{one}/ingest")) + str(ask("GET", one))
        assert SECRET not in ask("GET", f"{served.http}/metrics")[1]
        assert ask("DELETE", f"{one}/ingest")[1]["state"] == "stopped"
        assert all(is_gone(pid) for pid in (worker, *programs))


@needs_srt
def test_a_publisher_is_waited_for_and_waited_for_again(serve: Serve, film: Path) -> None:
    port = free_port()
    url = f"srt://127.0.0.1:{port}?mode=listener&passphrase={SECRET}"
    with serve(SYNTHETIC, ingest=limits(ports=frozenset({port}), silence_s=3.0)) as served:
        status, one, about = feed(served, url, listen=True)
        assert (status, about["state"]) == (201, "connecting")
        state_of(one, "listening")
        for leaves, said in ((signal.SIGTERM, "the publisher left; the next"), (signal.SIGKILL, "")):
            shown = ask("GET", f"{one}/ingest")[1]["pictures"]
            for wrong in ("?passphrase=another-passphrase", ""):
                assert sends_once(film, f"srt://127.0.0.1:{port}{wrong}") != 0
                about = ask("GET", f"{one}/ingest")[1]
                assert (about["state"], about["pictures"]) == ("listening", shown)
            with sender(film, f"srt://127.0.0.1:{port}?passphrase={SECRET}") as publishing:
                state_of(one, "playing")
                assert hears_both_tones(one)
                os.killpg(publishing.pid, leaves)
                assert said in state_of(one, "listening")["text"]


@needs_srt
def test_listening_is_said_when_the_port_is_waited_at(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By a program that takes its time, and by one that finds the port taken."""
    slow = tmp_path / "ffmpeg"
    slow.write_text(f'#!/bin/sh\nsleep 0.3\nexec {shutil.which("ffmpeg")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    port = free_port()
    url = f"srt://127.0.0.1:{port}"
    with serve(SYNTHETIC, ingest=limits(ports=frozenset({port}), attempts=1)) as served:
        one = feed(served, url, listen=True)[1]
        state_of(one, "listening")
        (program,) = programs_of(served)[1:]
        assert is_bound(port, program)
        other = feed(served, url, listen=True)[1]
        assert "another program may have it" in state_of(other, "failed", "waiting", "listening")["text"]


@needs_srt
def test_a_line_that_is_lost_is_told_and_found_again(serve: Serve, film: Path) -> None:
    port = free_port()
    there = f"srt://127.0.0.1:{port}?mode=listener"
    with (
        serve(SYNTHETIC, ingest=limits(attempts=100, silence_s=2.0)) as served,
        Client(served.ws) as client,
    ):
        with sender(film, there):
            one = feed(served, f"srt://127.0.0.1:{port}", client.start()["session_id"])[1]
            state_of(one, "playing")
            before = programs_of(served)
        error = client.until("error", code="ingest_failed")
        assert (error["fatal"], "tried again" in error["text"]) == (False, True)
        assert all(is_gone(pid) for pid in before)
        with sender(film, there):
            assert client.until("warning")["code"] == "ingest_reconnected"


@needs_srt
def test_who_is_not_there_or_refuses_is_said_without_the_passphrase(serve: Serve, film: Path) -> None:
    port = free_port()
    with serve(SYNTHETIC, ingest=limits(attempts=2, connect_s=1.0)) as served:
        for theirs in (None, "another-passphrase"):
            url = f"srt://127.0.0.1:{port}?passphrase={SECRET}"
            if theirs is None:
                about = state_of(feed(served, url)[1], "failed")
            else:
                with sender(film, f"srt://127.0.0.1:{port}?mode=listener&passphrase={theirs}"):
                    about = state_of(feed(served, url)[1], "failed")
            assert "no SRT connection" in about["text"]
            assert (about["pictures"], SECRET in str(about)) == (0, False)


@needs_srt
def test_what_is_no_video_is_given_up(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(os.urandom(400_000))
    port = free_port()
    command = [
        "ffmpeg",
        "-nostdin",
        "-loglevel",
        "quiet",
        "-re",
        "-f",
        "s16le",
        "-i",
        str(tmp_path / "noise"),
    ]
    raw = [*command, "-f", "s16le", f"srt://127.0.0.1:{port}?mode=listener"]
    with (
        serve(SYNTHETIC, ingest=limits(attempts=1, connect_s=2.0, silence_s=1.0)) as served,
        subprocess.Popen(raw) as noise,
    ):
        about = state_of(feed(served, f"srt://127.0.0.1:{port}")[1], "failed")
        assert about["pictures"] == 0
        noise.kill()


def worker_and_program(server: int) -> tuple[int, int] | None:
    """Their process IDs, once the program is itself: right after it was born it has its worker's command line."""
    found = {pid: command(pid) for pid in descendants(server)}
    workers = [pid for pid, said in found.items() if b"server.ingest.worker" in said]
    programs = [pid for pid in descendants(workers[0]) if pid in found] if len(workers) == 1 else []
    return (workers[0], programs[0]) if len(programs) == 1 else None


@needs_srt
@pytest.mark.parametrize("killed", ["worker", "server"])
def test_the_program_does_not_outlive_who_started_it(killed: str) -> None:
    port = free_port()
    url = f"srt://127.0.0.1:{port}?mode=listener&passphrase={SECRET}"
    words = ["--model", "synthetic", "--port", "0", "--ingest-port", str(port), "--ingest", url]
    with run("serve", *words) as process:
        try:
            end_s = time.monotonic() + 30
            while not (found := worker_and_program(process.pid)):
                assert time.monotonic() < end_s
                time.sleep(0.05)
            worker, program = found
            os.kill(process.pid if killed == "server" else worker, signal.SIGKILL)
            assert is_gone(worker)
            assert is_gone(program)
        finally:
            process.kill()
            said = "".join(text or "" for text in process.communicate())
        assert SECRET not in said


FORGED: dict[str, str] = {
    "loopback": "srt://127.0.0.1:9000",
    "a name for it": "srt://localhost:9000",
    "ten": "srt://10.1.2.3:9000",
    "metadata": "srt://169.254.169.254:80",
    "multicast": "srt://239.1.2.3:9000",
    "unspecified": "srt://0.0.0.0:9000",
    "decimal": "srt://2130706433:9000",
    "octal": "srt://0177.0.0.1:9000",
    "mapped": "srt://[::ffff:127.0.0.1]:9000",
    "no port": f"srt://{PUBLIC}",
    "port 0": f"srt://{PUBLIC}:0",
    "no host": "srt://:9000",
    "a path": f"srt://{PUBLIC}:9000/x",
    "somebody before it": f"srt://me@{PUBLIC}:9000",
    "listening": f"srt://{PUBLIC}:9000?mode=listener",
    "a rendezvous": f"srt://{PUBLIC}:9000?mode=rendezvous",
    "another adapter": f"srt://{PUBLIC}:9000?adapter=127.0.0.1",
    "a local port": f"srt://{PUBLIC}:9000?localport=53",
    "file transfer": f"srt://{PUBLIC}:9000?transtype=file",
    "a timeout": f"srt://{PUBLIC}:9000?timeout=-1",
    "twice": f"srt://{PUBLIC}:9000?latency=1&latency=2",
    "no value": f"srt://{PUBLIC}:9000?streamid=",
    "a short passphrase": f"srt://{PUBLIC}:9000?passphrase=short",
    "a long passphrase": f"srt://{PUBLIC}:9000?passphrase={'x' * 80}",
    "half a key": f"srt://{PUBLIC}:9000?pbkeylen=8",
    "a negative latency": f"srt://{PUBLIC}:9000?latency=-1",
    "an endless latency": f"srt://{PUBLIC}:9000?latency=999999999",
    "a line break": f"srt://{PUBLIC}:9000?streamid=a%0Ab",
    "a zero": f"srt://{PUBLIC}:9000?streamid=a%00b",
    "letters beyond ASCII": f"srt://{PUBLIC}:9000?streamid=%C3%A4",
    "a fragment": f"srt://{PUBLIC}:9000?streamid=#!::r=x",
    "a long stream": f"srt://{PUBLIC}:9000?streamid={'x' * 513}",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_address_is_refused(name: str) -> None:
    with pytest.raises(Forbidden) as refused:
        check(FORGED[name], False, IngestLimits())
    assert "ffmpeg" not in str(refused.value)
    if name not in ("unspecified", "metadata", "multicast", "decimal", "octal"):
        return
    with pytest.raises(Forbidden) as refused:
        check(FORGED[name], False, IngestLimits(private=True))
    assert "ffmpeg" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "srt://0.0.0.0:9001",  # another port
        "srt://localhost:9000",
        "srt://0.0.0.0:9000?mode=caller",
        "srt://0.0.0.0:9000?streamid=x",
        "srt://0.0.0.0:9000/live/key",
    ],
)
def test_publishers_are_not_waited_for_anywhere(url: str) -> None:
    with pytest.raises(Forbidden):
        check(url, True, IngestLimits(ports=frozenset({9000})))


def job_of(url: str, listen: bool = False) -> Job:
    return Job(url, listen, 320, 8.0, False, None, 10**6, 10**6, 10.0, 10.0, 2**30, 60)


def test_the_program_is_given_an_address_in_numbers_and_one_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a name that has two addresses and changes its mind: what was checked is what is called."""
    asked: list[Any] = []

    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(0, 0, 0, "", ("2606:2800:220:1::1", port)), (0, 0, 0, "", (PUBLIC, port))]

    monkeypatch.setattr("socket.getaddrinfo", lookup)
    url = f"srt://Two.Example:9000?streamid={ASKED}&passphrase=-i%20%2Fetc%2Fpasswd%20x"
    command = command_of(parse(url), job_of(url))
    assert asked == ["two.example"]
    assert command[command.index("-i") + 1] == f"srt://{PUBLIC}:9000"
    assert command.count("-i") == 1
    assert command[command.index("-protocol_whitelist") + 1] == "srt"
    assert [command[n + 1] for n, word in enumerate(command) if word == "-f"] == ["data", "data"]
    assert command[command.index("-srt_streamid") + 1] == "#!::r=film,m=request"
    assert command[command.index("-passphrase") + 1] == "-i /etc/passwd x"
    here = "srt://[::1]:9000"
    assert "srt://[::1]:9000" in command_of(parse(here), job_of(here, True))


def test_nothing_secret_is_shown() -> None:
    url = f"srt://[2001:db8::1]:9000?passphrase={SECRET}&streamid=key"
    assert parse(url).shown == shown_of(url) == "srt://[2001:db8::1]:9000"
    assert shown_of(f"SRT://x?passphrase={SECRET}") == "SRT://x"
    assert shown_of(f"rtsp://me:{SECRET}@host/path") == "rtsp://host/path"
    assert shown_of("file:film.mp4") == "file:film.mp4"


def test_an_error_at_the_start_does_not_say_the_passphrase() -> None:
    with run(
        "serve", "--model", "synthetic", "--ingest", f"srt://127.0.0.1:9?passphrase={SECRET}"
    ) as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "--ingest srt://127.0.0.1:9: 127.0.0.1 is not a public address" in said
    assert SECRET not in said


def test_without_the_program_it_is_said_what_to_install(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with serve(SYNTHETIC, ingest=limits()) as served:
        status, _, answer = feed(served, "srt://127.0.0.1:9000")
    assert (status, answer["error"]["code"]) == (403, "ingest_forbidden_url")
    assert "apt-get install ffmpeg" in answer["error"]["text"]


def test_a_program_without_srt_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\necho '  http\n  srtp'\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lacking() == "the program ffmpeg on the server's machine comes without SRT"
