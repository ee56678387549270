"""`cuestream obs setup` against an OBS that answers as obs-websocket does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import av
import pytest
from fake_obs import FakeObs, running
from ingest_rig import feed, limits
from served import Serve
from shell_client import ask
from typer.testing import CliRunner

from cuestream_client.obs.command import app
from cuestream_client.obs.connection import Obs, ObsError
from cuestream_client.obs.places import Place, find_place, found
from cuestream_client.obs.setup import BROWSER, MEDIA, Wanted, media, page, remove, set_up

SDK = Path(__file__).parents[2] / "sdk" / "python"
URLS = {
    "obs": "http://127.0.0.1:8765/obs?session=show#token=show.abc",
    "audio": {"ogg": "http://127.0.0.1:8765/v1/sessions/show/audio.ogg?token=show.abc"},
    "whip": "http://127.0.0.1:8765/v1/whip/show",
}
WANTED = Wanted(URLS)
DUCK = ("Cuestream", "Duck under the voice")


def done(obs: FakeObs, wanted: Wanted) -> list[str]:
    with running(obs), Obs(obs.url, obs.password) as line:
        return list(set_up(line, wanted))


def test_the_source_is_in_every_scene_and_yields_to_the_microphone() -> None:
    obs = FakeObs(password="a password")
    said = done(obs, WANTED)
    assert obs.scenes == {"Game": ["Cuestream"], "Chat": ["Cuestream"]}
    made = obs.inputs["Cuestream"]
    assert made["kind"] == BROWSER
    assert made["settings"]["url"] == URLS["obs"]
    assert made["settings"]["reroute_audio"] is True
    assert made["settings"]["shutdown"] is False
    assert obs.filters[DUCK]["filterKind"] == "compressor_filter"
    assert obs.filters[DUCK]["filterSettings"]["sidechain_source"] == "Mic/Aux"
    assert obs.service["streamServiceSettings"]["service"] == "Twitch"  # nobody asked for another one
    assert any("Mic/Aux" in line for line in said)


@pytest.mark.parametrize("is_fed", [True, False])
def test_it_is_said_who_shows_the_session_pictures(serve: Serve, is_fed: bool) -> None:
    obs, film = FakeObs(), "http://127.0.0.1:9/film.mp4"
    with serve(ingest=limits(attempts=10_000)) as served, running(obs):
        if is_fed:
            ask("POST", f"{served.http}/v1/sessions", {"session_id": "show"})
            assert feed(served, film, "show")[0] == 201
        done = CliRunner().invoke(
            app, ["setup", served.http.removeprefix("http://"), "--obs-url", obs.url.removeprefix("ws://")]
        )
    said = f"by itself: {film}" if is_fed else f"cuestream live {served.http} --obs --session show --silent"
    assert (done.exit_code, said in done.output) == (0, True), done.output


def test_the_address_for_a_dock_is_said_last_and_who_opens_it_may_turn_the_session(serve: Serve) -> None:
    obs = FakeObs()
    with serve(api_key="k") as served, running(obs):
        done = CliRunner().invoke(app, ["setup", served.http, "--obs-url", obs.url, "--token", "k"])
        said, _, address = done.output.splitlines()[-1].rpartition(": ")
        assert "Custom Browser Docks" in said
        assert address.startswith(f"{served.http}/control?session=show#token=")
        token = address.rpartition("=")[2]
        assert ask("PATCH", f"{served.http}/v1/sessions/show", {}, key=token)[0] == 404  # until it is there
        assert ask("PATCH", f"{served.http}/v1/sessions/other", {}, key=token)[0] == 403


def test_twice_is_once_and_brings_what_is_new() -> None:
    obs = FakeObs()
    done(obs, WANTED)
    obs.scenes["New"] = []
    changed = replace(WANTED, overlay=True, quiet=("Chat",), duck="Mic/Aux")
    done(obs, changed)
    assert obs.scenes == {"Game": ["Cuestream"], "Chat": ["Cuestream"], "New": ["Cuestream"]}
    assert obs.inputs["Cuestream"]["settings"]["url"] == page(changed)
    assert len(obs.filters) == 1


def test_the_pages_address_says_what_was_chosen_and_keeps_its_token() -> None:
    parts = urlsplit(page(replace(WANTED, overlay=True, quiet=("Be right back", "Ads & more"), cuts=False)))
    chosen = {"session": ["show"], "cut": ["0"], "quiet": ["Be right back,Ads & more"], "overlay": ["1"]}
    assert parse_qs(parts.query) == chosen
    assert parts.fragment == "token=show.abc"
    assert page(WANTED) == URLS["obs"]


def test_an_obs_without_browser_source_plays_the_stream() -> None:
    obs = FakeObs(kinds=("ffmpeg_source",))
    said = done(obs, WANTED)
    assert obs.inputs["Cuestream"]["kind"] == MEDIA
    assert obs.inputs["Cuestream"]["settings"]["input"] == URLS["audio"]["ogg"]
    assert any("no browser source" in line for line in said)


def test_opening_the_stream_never_fails_at_once() -> None:
    """OBS's media source would not try again. FFmpeg, by our options, asks a second time at once and a third a second later."""
    asked: list[str] = []

    class Absent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *about: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Absent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = dict(pair.split("=", 1) for pair in media(WANTED)["ffmpeg_options"].split())
        with pytest.raises(av.HTTPNotFoundError):
            av.open(f"http://127.0.0.1:{server.server_port}/audio.ogg", format="ogg", options=options)
        server.shutdown()
    assert len(asked) == 3


def test_only_scenes_that_were_named() -> None:
    obs = FakeObs()
    done(obs, replace(WANTED, scenes=("Chat",), duck=None, monitor=True))
    assert obs.scenes == {"Game": [], "Chat": ["Cuestream"]}
    assert obs.inputs["Cuestream"]["monitor"] == "OBS_MONITORING_TYPE_MONITOR_AND_OUTPUT"
    assert not obs.filters
    with pytest.raises(ObsError, match="no scene named Nowhere; it has Game, Chat"):
        done(FakeObs(), replace(WANTED, scenes=("Nowhere",)))


@pytest.mark.parametrize(
    ("profile", "restarts"),
    [
        ({("SimpleOutput", "StreamAudioEncoder"): "aac"}, True),
        ({("SimpleOutput", "StreamAudioEncoder"): "opus", ("AdvOut", "AudioEncoder"): "ffmpeg_aac"}, False),
        ({("Output", "Mode"): "Advanced", ("AdvOut", "AudioEncoder"): "ffmpeg_aac"}, True),
        ({("Output", "Mode"): "Advanced", ("AdvOut", "AudioEncoder"): "ffmpeg_opus"}, False),
    ],
)
def test_obs_is_to_be_restarted_where_it_would_send_aac_by_whip(
    profile: dict[tuple[str, str], str], restarts: bool
) -> None:
    said = done(FakeObs(profile=profile), replace(WANTED, key="a key"))
    assert any("restart OBS" in line for line in said) == restarts


def test_whip_changes_the_service_and_keeps_the_music_out_of_it() -> None:
    obs = FakeObs()
    said = done(obs, replace(WANTED, key="a key"))
    settings = {"server": URLS["whip"], "bearer_token": "a key"}
    assert obs.service == {"streamServiceType": "whip_custom", "streamServiceSettings": settings}
    assert obs.inputs["Cuestream"]["tracks"] == {"1": False}
    assert any("before: Twitch" in line for line in said)
    assert not any("live_secret" in line or "a key" in line for line in said)


@pytest.mark.parametrize(
    ("obs", "wanted", "said"),
    [
        (FakeObs(version="29.0.2"), replace(WANTED, key="a key"), "29.0.2 cannot publish by WHIP"),
        (FakeObs(whip=False), replace(WANTED, key="a key"), "built without WHIP"),
        (FakeObs(streaming=True), replace(WANTED, key="a key"), "OBS is streaming"),
        (FakeObs(), Wanted({"obs": URLS["obs"]}, key="a key"), "has no WebRTC"),
        (FakeObs(), replace(WANTED, duck="Nobody"), "no input named Nobody"),
        (FakeObs(), replace(WANTED, name="Mic/Aux"), "choose another --name"),
    ],
)
def test_what_cannot_be_is_said(obs: FakeObs, wanted: Wanted, said: str) -> None:
    with pytest.raises(ObsError, match=said):
        done(obs, wanted)
    assert obs.service["streamServiceType"] == "rtmp_common"


def test_without_a_microphone_nothing_is_ducked() -> None:
    obs = FakeObs(special={}, inputs={"Clip": {"kind": "ffmpeg_source", "settings": {}}})
    assert any("no microphone" in line for line in done(obs, WANTED))
    assert not obs.filters


@pytest.mark.parametrize("kind", ["wasapi_input_capture", "coreaudio_input_capture", "pulse_input_capture"])
def test_a_microphone_may_be_a_source_of_a_scene(kind: str) -> None:
    desktop = {"kind": kind.replace("input", "output"), "settings": {}}
    obs = FakeObs(
        special={"mic1": None}, inputs={"Desktop": desktop, "Voice": {"kind": kind, "settings": {}}}
    )
    assert any("yields to Voice" in line for line in done(obs, WANTED))
    assert obs.filters[DUCK]["filterSettings"]["sidechain_source"] == "Voice"


def test_it_can_be_taken_away_and_put_back() -> None:
    obs = FakeObs()
    with running(obs), Obs(obs.url) as line:
        list(set_up(line, WANTED))
        remove(line, "Cuestream")
        assert obs.scenes == {"Game": [], "Chat": []}
        with pytest.raises(ObsError, match="no source named Cuestream"):
            remove(line, "Cuestream")
        list(set_up(line, WANTED))
        assert obs.scenes == {"Game": ["Cuestream"], "Chat": ["Cuestream"]}


def test_a_name_that_the_terminal_cannot_show_is_no_reason_to_fail() -> None:
    """What a program writes into a pipe on Windows is in the encoding of old programs there."""
    obs = FakeObs()
    with running(obs):
        with Obs(obs.url) as line:
            list(set_up(line, replace(WANTED, name="Музыка")))
        command = ("-m", "cuestream_client", "obs", "remove", "--obs-url", obs.url, "--name", "Музыка")
        environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(SDK)}
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\u041c\u0443" in done.stdout


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_wrong_password_is_said(password: str) -> None:
    with running(FakeObs(password="a password")) as obs, pytest.raises(ObsError, match="--obs-password"):
        Obs(obs.url, password)


def test_nobody_there_is_said() -> None:
    with pytest.raises(ObsError, match="Enable WebSocket server"):
        Obs("ws://127.0.0.1:9")


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        (
            "plugin_config/obs-websocket/config.json",
            json.dumps({"server_port": 4460, "server_password": "kept", "auth_required": True}),
            Place("ws://127.0.0.1:4460", "kept"),
        ),
        (
            "plugin_config/obs-websocket/config.json",
            json.dumps({"server_password": "kept", "auth_required": False}),
            Place("ws://127.0.0.1:4455", ""),
        ),
        (
            "global.ini",
            "\ufeff[General]\nPre=1\n[OBSWebSocket]\nServerPort=4461\nServerPassword=a%b;c\n",
            Place("ws://127.0.0.1:4461", "a%b;c"),
        ),
    ],
)
def test_what_obs_keeps_is_found(tmp_path: Path, name: str, text: str, place: Place) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert list(found([tmp_path / "nothing", tmp_path])) == [place]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"server_port": "x"}'])
def test_what_obs_keeps_may_be_broken(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plugin_config" / "obs-websocket" / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (tmp_path / "global.ini").write_text(text)
    assert list(found([tmp_path])) == []


def test_an_obs_elsewhere_has_no_password_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [Place("ws://127.0.0.1:4460", "kept")]
    monkeypatch.setattr("cuestream_client.obs.places.found", lambda places: iter(kept))
    assert find_place(None, None) == kept[0]
    assert find_place("ws://127.0.0.1:1", None) == Place("ws://127.0.0.1:1", "kept")
    assert (
        find_place("ws://studio:4455", None)
        == find_place("studio:4455", None)
        == Place("ws://studio:4455", "")
    )
    assert find_place(None, "mine").password == "mine"
    with pytest.raises(ValueError, match="ws://127"):
        find_place("http://127.0.0.1", None)
