"""OBS's program by its websocket, a server, and who hears the session by its name: `cuestream live --obs --session show`."""

from __future__ import annotations

import threading
import urllib.request

import pytest
from fake_obs import FakeObs, running
from served import Serve, Served
from shell_client import ask, soon
from typer.testing import CliRunner

from cuestream_client import Client, Refused, rest
from cuestream_client.live import Live, LiveJob
from cuestream_client.obs.command import app
from cuestream_client.obs.connection import ObsError
from cuestream_client.obs.places import Place
from engine.synthetic import SyntheticPlayer

KEY = "a key for tests"
SOON_S = 20.0


def test_obs_is_watched_and_its_scenes_are_cuts_also_after_it_was_started_again(serve: Serve) -> None:
    obs = FakeObs(colours=dict.fromkeys(("Game", "Chat"), (90, 90, 90)))  # no cut that could be seen
    with serve(player=SyntheticPlayer(), api_key=KEY) as served:
        with running(obs):
            run = Live(LiveJob(served.http, Place(obs.url), KEY, "show", silent=True))
            thread = threading.Thread(target=run.run)
            thread.start()
            soon(lambda: run.board.pictures >= 2 and run.board.music_s > 0, SOON_S)
            assert served.host.find("show")
            assert run.board.cuts == 0
            obs.switch("Chat")
            soon(lambda: run.board.cuts == 1, SOON_S)
        soon(lambda: "OBS" in run.board.said, SOON_S)
        with running(obs):
            seen = run.board.pictures
            soon(lambda: run.board.pictures > seen, SOON_S)
        run.stop.set()
        thread.join(SOON_S)
        assert not thread.is_alive()
        assert run.board.resumed == 0


def test_without_obs_nothing_begins(served: Served) -> None:
    with pytest.raises(ObsError, match="does not answer"):
        Live(LiveJob(served.http, Place("ws://127.0.0.1:9"), name="nobody", silent=True)).run()


def test_a_name_is_one_sessions(serve: Serve) -> None:
    with serve(api_key=KEY) as served:
        with Client(served.http, token=KEY, name="show") as client:
            assert client.session.created is not None
            assert client.session.created.session_id == "show"
            with pytest.raises(Refused, match="open already"), Client(served.http, token=KEY, name="show"):
                pass
        with Client(served.http, token=KEY, name="show") as client:
            assert client.session.created is not None
        with pytest.raises(Refused, match="letters, digits"), Client(served.http, token=KEY, name="no/name"):
            pass


def test_setup_takes_the_servers_addresses_and_they_are_good(serve: Serve) -> None:
    with serve(api_key=KEY) as served, running(FakeObs(password="p")) as obs:
        arguments = ["setup", served.http, "--session", "show", "--obs-url", obs.url, "--obs-password", "p"]
        done = CliRunner().invoke(app, [*arguments, "--token", KEY, "--overlay"])
        assert done.exit_code == 0, done.output
        assert "the music yields to Mic/Aux" in done.output
        assert KEY not in done.output
        url = obs.inputs["Cuestream"]["settings"]["url"]
        assert url.startswith(f"{served.http}/obs?session=show&overlay=1#token=show.")
        with urllib.request.urlopen(url.partition("#")[0], timeout=10) as page:
            assert b"obs.js" in page.read()
        token = url.rpartition("=")[2]
        with Client(served.http, token=KEY, name="show"):
            one = f"{served.http}/v1/sessions/show"
            assert ask("GET", one, key=token)[0] == 200
            assert ask("PATCH", one, {"change_now": True}, key=token)[0] == 200
            assert ask("DELETE", one, key=token)[0] == 403
            assert ask("GET", f"{one}/urls", key=token)[0] == 403
            assert ask("POST", f"{served.http}/v1/sessions", key=token)[0] == 403
            assert ask("GET", f"{served.http}/v1/sessions/other", key=token)[0] == 403


def test_addresses_outlive_the_server_that_gave_them(serve: Serve) -> None:
    with serve(api_key=KEY) as served:
        first = rest.addresses(served.http, "show", KEY)
    with serve(api_key=KEY) as served:
        second = rest.addresses(served.http, "show", KEY)
    with serve(api_key="another key") as served:
        third = rest.addresses(served.http, "show", "another key")
    tokens = [found["obs"].rpartition("=")[2] for found in (first, second, third)]
    assert tokens[0] == tokens[1] != tokens[2]
    assert first["audio"]["ogg"].rpartition("=")[2] == second["audio"]["ogg"].rpartition("=")[2] != tokens[0]


def test_setup_says_what_the_server_says(served: Served) -> None:
    with pytest.raises(Refused, match="letters, digits"):
        CliRunner().invoke(app, ["setup", served.http, "--session", "a b"], catch_exceptions=False)
