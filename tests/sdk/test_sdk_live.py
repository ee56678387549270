"""`cuestream live`: a video goes up from a file, the music comes down into one. The server is the fake one."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from fake_server import ramp
from rich.console import Console
from test_sdk_websocket import Stage, serving
from typer.testing import CliRunner

from cuestream import cli
from cuestream_client import AudioFormat, Chunk, Client, ClientError, MissingExtra
from cuestream_client import command as command_module
from cuestream_client import messages as m
from cuestream_client.live import Board, Live, LiveJob
from cuestream_client.meters import bar, decibels, render
from cuestream_client.recorder import Recorder
from cuestream_client.sources import Pace, Source, frames
from cuestream_client.speaker import Speaker
from cuestream_client.typed import address

MONO = AudioFormat("pcm_s16", 32_000, 1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of red at 25 frames a second."""
    path = tmp_path_factory.mktemp("clip") / "red.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), (255, 0, 0), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def heard(path: Path) -> np.ndarray:
    """int16 [n] of a file."""
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_file_goes_up_and_the_music_into_a_file(clip: Path, tmp_path: Path, ending: str) -> None:
    stage, output = Stage(break_at={0: 12}), tmp_path / f"music.{ending}"
    with serving(stage) as url:
        job = LiveJob(url, Source("file", str(clip)), output=output, config={"seed": 7})
        run = Live(job, pace=Pace(lambda s: threading.Event().wait(s / 5), lambda: time.monotonic() * 5))
        run.run()
    samples = heard(output)
    assert len(samples) >= 16_000
    np.testing.assert_array_equal(samples, ramp(0, len(samples)))
    assert run.board.pictures >= 1
    assert run.board.label == "a ramp, not music"
    assert stage.takes["s0"].ended
    assert stage.takes["s0"].config.seed == 7


def test_enough_music_is_enough(clip: Path, tmp_path: Path) -> None:
    endless = threading.Event()
    with serving(Stage()) as url:
        job = LiveJob(url, Source("file", str(clip)), output=tmp_path / "a.wav", seconds=1.0)
        run = Live(job, stop=endless, pace=Pace(lambda _: endless.wait(10)))
        run.run()
    assert 1.0 <= run.board.music_s < 1.6


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tmp_path_factory.mktemp("picture") / "red.png"
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png")
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        container.mux(stream.encode(av.VideoFrame(64, 48, "rgb24")))
    return Source("file", str(path))


def test_a_picture_is_shown_for_the_seconds(picture: Source, tmp_path: Path) -> None:
    output = tmp_path / "a.flac"
    with serving(Stage(sees=True)) as url:
        run = Live(LiveJob(url, picture, output=output, seconds=0.5))
        run.run()
    assert run.board.pictures >= 1
    assert 0.5 <= len(heard(output)) / 32_000 < 1.1


def test_a_picture_without_an_end_is_refused(picture: Source, tmp_path: Path) -> None:
    with serving(Stage()) as url, pytest.raises(ClientError, match="say with --seconds"):
        Live(LiveJob(url, picture, output=tmp_path / "a.flac")).run()


def test_a_source_that_fails_before_anything_plays_is_what_is_told(
    picture: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    end, play = Client.end, Client.play

    def ended(client: Client) -> None:
        end(client)
        list(client.audio())
        over.set()

    def played(client: Client) -> None:
        assert over.wait(10)
        play(client)

    monkeypatch.setattr(Client, "end", ended)
    monkeypatch.setattr(Client, "play", played)
    address = Source("url", picture.name)
    with serving(Stage()) as url, pytest.raises(ClientError, match="say with --seconds"):
        Live(LiveJob(url, address, output=tmp_path / "a.flac")).run()


def test_without_music_there_is_no_file(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.flac", MONO):
        pass
    assert not list(tmp_path.iterdir())


def test_a_wav_leaves_room_for_the_lengths_of_more_than_4_gib(tmp_path: Path) -> None:
    """Six hours and a quarter in stereo: FFmpeg then makes it RF64, in the room that it left."""
    with Recorder(tmp_path / "a.wav", MONO) as recorder:
        recorder.put(Chunk(0, np.zeros((960, 1), np.float32)))
    assert (tmp_path / "a.wav").read_bytes()[8:20] == b"WAVEJUNK\x1c\0\0\0"


def test_why_it_waits_is_said_once(picture: Source, tmp_path: Path) -> None:
    said: list[str] = []
    with serving(Stage(refuse=dict.fromkeys(range(2), ("capacity", 1013)))) as url:
        job = LiveJob(url, picture, output=tmp_path / "a.wav", seconds=0.1)
        Live(job, say=said.append).run()
    assert said == ["connecting again: capacity: no"]


def test_a_file_that_cannot_be_read_begins_no_session(tmp_path: Path) -> None:
    text, cut_off = tmp_path / "text.mp4", tmp_path / "cut.mkv"
    text.write_text("no video")
    with av.open(str(cut_off), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 64, 48
        container.start_encoding()
    stage = Stage()
    with serving(stage) as url:
        for path, said in (
            (tmp_path / "nowhere.mp4", "nowhere"),
            (text, "text.mp4"),
            (cut_off, "End of file"),
        ):
            with pytest.raises(ClientError, match=said):
                Live(LiveJob(url, Source("file", str(path)), output=tmp_path / "a.wav")).run()
    assert not stage.takes


def test_a_file_that_cannot_be_written_opens_no_session(clip: Path, tmp_path: Path) -> None:
    stage = Stage()
    with serving(stage) as url:
        for output, said in ((tmp_path / "a.mp3", "flac"), (tmp_path / "nowhere" / "a.wav", "no folder")):
            with pytest.raises(ClientError, match=said):
                Live(LiveJob(url, Source("file", str(clip)), output=output)).run()
    assert not stage.takes


def test_frames_come_when_they_are_to_be_seen(clip: Path) -> None:
    now, waits = [0.0], []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    seen = list(frames(Source("file", str(clip)), threading.Event(), Pace(wait, lambda: now[0])))
    assert len(seen) == 50
    assert now[0] == pytest.approx(49 / 25, abs=1e-3)


def test_late_frames_are_not_waited_for_and_a_jump_begins_anew() -> None:
    now, waits = [0.0], []
    pace = Pace(waits.append, lambda: now[0])
    for at_s, at in ((0.0, 0.0), (0.04, 1.0), (100.0, 1.0), (100.1, 1.0)):
        now[0] = at
        pace.until(at_s)
    assert waits == [pytest.approx(0.1)]


def test_gaps_are_silence_so_that_a_place_in_the_file_is_an_index(tmp_path: Path) -> None:
    ones = np.full((100, 1), 0.5, np.float32)
    with Recorder(tmp_path / "a.wav", MONO) as recorder:
        recorder.put(Chunk(0, ones))
        recorder.put(Chunk(150, ones))
        recorder.put(Chunk(0, ones, session=2))
        assert (recorder.playout.session, recorder.playout.played_through) == (2, 100)
    expected = np.concatenate((np.full(100, 16384), np.zeros(50), np.full(200, 16384)))
    np.testing.assert_array_equal(heard(tmp_path / "a.wav"), expected)


def test_another_ending_is_said(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="flac"):
        Recorder(str(tmp_path / "a.mp3"), MONO)


@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_a_recorder_whose_folder_is_not_there_says_so_before_any_music(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "nowhere" / f"a{ending}"
    with pytest.raises(ClientError, match="cannot be written: there is no folder"):
        Recorder(path, MONO)


def test_the_card_is_filled_from_the_player() -> None:
    speaker = Speaker(MONO)
    speaker.put(Chunk(0, np.ones((6400, 1), np.float32)))
    out = np.empty((3200, 1), np.float32)
    speaker.fill(out, 3200, None, None)
    assert out[1000:].min() > 0.99
    assert abs(speaker.playout.played_through - 3200) <= 20
    assert speaker.peak > 0.9


@pytest.fixture
def no_sounddevice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)


@pytest.mark.usefixtures("no_sounddevice")
def test_without_sounddevice_the_extra_is_named() -> None:
    with pytest.raises(MissingExtra, match=r"cuestream-client\[play\]"):
        Speaker(MONO).__enter__()


def test_the_board_shows_what_was_said() -> None:
    board = Board()
    board.saw(m.State("playing", "on_time", 0))
    board.saw(m.Latency(500.0, 700.0, 800.0, 40.0, 0.45))
    board.saw(m.ErrorMessage("decode_failed", "not a picture [red]", False))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render(board))
    shown = console.export_text()
    for word in ("playing, on_time", "500 ms", "x0.45", "decode_failed: not a picture [red]", "-60.0 dB"):
        assert word in shown


def test_levels_are_decibels_and_bars() -> None:
    assert decibels(0.0) == decibels(1e-9) == -60.0
    assert decibels(0.5) == pytest.approx(-6.02, abs=0.01)
    assert bar(2.0) == "█" * 30
    assert bar(0.5).count("█") == 15


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of --camera"),
        (["--screen", "--camera", "0"], "one of --camera"),
        (["--file", "nowhere.mp4"], "no such file"),
        (["--screen", "ftp://x"], "an address such as"),
        (["--screen", "x"], "an address such as host:8765 or http://host:8765 was expected, found 'x'"),
        (["--fast"], "No such option"),
        (["--screen", "--key", "H"], "--key H: expected one of seed free C Db"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exits_with_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_module.run([*arguments, "-o", "a.wav"], "cuestream live") == 2
    assert said in capsys.readouterr().err


def test_a_host_with_its_port_is_an_address_as_people_type_it() -> None:
    for typed in ("127.0.0.1:8765", "localhost:8765", "My-Host.local:80/music", "[::1]:8765"):
        assert address(typed) == f"http://{typed}"
    assert address("studio:4455", "ws", 4455) == "ws://studio:4455"
    for typed in ("http://host", "https://host:8765/", "wss://host/v1/stream", "ftp://host"):
        assert address(typed) == typed


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "host",
        "8765",
        ":8765",
        "8765:8765",
        "::1:8765",
        "http:8765",
        "http:/host:8765",
        "a@b:8765",
        "host:",
        "a b:1",
    ],
)
def test_an_address_that_may_be_read_in_several_ways_is_asked_for_again(typed: str) -> None:
    with pytest.raises(ValueError, match="an address such as host:8765 or http://host:8765 was expected"):
        address(typed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["live", "--file", "nowhere.mp4"], "cuestream-client live: nowhere.mp4: no such file"),
        (["--file", "nowhere.mp4"], "cuestream-client: nowhere.mp4: no such file"),
        (["live", "live", "--screen"], "cuestream-client live: an address such as"),
    ],
)
def test_live_is_a_word_of_the_clients_command_that_may_be_left_out(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cuestream-client", *arguments])
    with pytest.raises(SystemExit) as exited:
        command_module.main()
    assert exited.value.code == 2
    assert capsys.readouterr().err.startswith(said)


def test_cuestream_live_is_this_command() -> None:
    result = CliRunner().invoke(cli.app, ["live", "--help"])
    assert result.exit_code == 0


def test_cuestream_live_without_the_client_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuestream_client.command", None)
    result = CliRunner().invoke(cli.app, ["live", "--screen"])
    assert "pip install 'cuestream-client[" in str(result.exception)


def test_windows_is_told_a_camera_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def device(name: str, description: str, *kinds: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, description=description, media_types=list(kinds))

    devices = [device("@mic", "Mic", "audio"), device("@one", "Cam", "video"), device("@two", "OBS", "video")]
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(av, "enumerate_input_devices", lambda form: devices)
    assert Source("camera", "1").opens_with == ("video=@two", "dshow")
    assert Source("camera").opens_with == ("video=@one", "dshow")
    with pytest.raises(ClientError, match="no camera 2; cameras here: Cam, OBS"):
        _ = Source("camera", "2").opens_with


@pytest.mark.parametrize(
    ("system", "source", "opens"),
    [
        ("linux", Source("camera", "2"), ("/dev/video2", "v4l2")),
        ("linux", Source("camera", "/dev/video7"), ("/dev/video7", "v4l2")),
        ("linux", Source("screen"), (":0.0", "x11grab")),
        ("darwin", Source("screen"), ("Capture screen 0:none", "avfoundation")),
        ("win32", Source("camera", "Cam"), ("video=Cam", "dshow")),
        ("linux", Source("url", "rtsp://x/y"), ("rtsp://x/y", None)),
    ],
)
def test_devices_by_system(
    system: str, source: Source, opens: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert source.opens_with == opens
