"""OBS's program as a source of pictures: as often as the server wants them, whatever OBS streams to, and its scenes as cuts."""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable

from cuestream_client.client import Client
from cuestream_client.obs.connection import Obs, ObsError
from cuestream_client.obs.places import Place
from cuestream_client.pictures import edge_of

AGAIN_S = 2.0
"""An OBS that went away is asked for so often."""
QUALITY = 80
LISTEN_S = 0.02
"""How long events are waited for before the next picture may be due."""


def watch(
    place: Place,
    client: Client,
    stop: threading.Event,
    shown: Callable[[], object],
    lost: Callable[[str], object],
) -> None:
    """Until `stop`, also when OBS is started again. shown: called for each picture. lost: told why OBS is gone.

    Raises ObsError when OBS cannot be reached to begin with, Closed when the session is over.
    """
    obs: Obs | None = Obs(place.url, place.password, events=True)
    while obs:
        try:
            with obs:
                _watch(obs, client, stop, shown)
                return
        except ObsError as error:
            lost(str(error))
        obs = _again(place, stop)


def _again(place: Place, stop: threading.Event) -> Obs | None:
    while not stop.wait(AGAIN_S):
        try:
            return Obs(place.url, place.password, events=True)
        except ObsError:
            continue
    return None


def _watch(obs: Obs, client: Client, stop: threading.Event, shown: Callable[[], object]) -> None:
    scene = str(obs.ask("GetCurrentProgramScene")["currentProgramSceneName"])
    while not stop.is_set():
        at_us = client.now_us
        if client.wants(at_us):
            client.show(picture(obs, scene, edge_of(client.session.video)), at_us)
            shown()
        if (event := obs.event(LISTEN_S)) and event[0] == "CurrentProgramSceneChanged":
            scene = str(event[1]["sceneName"])
            client.scene_change()


def picture(obs: Obs, scene: str, edge: int) -> bytes:
    """A JPEG of the scene whose longer edge is at most so long. Raises ObsError."""
    answer = obs.ask(
        "GetSourceScreenshot",
        sourceName=scene,
        imageFormat="jpg",
        imageWidth=edge,
        imageHeight=edge,
        imageCompressionQuality=QUALITY,
    )
    try:
        return base64.b64decode(answer["imageData"].partition(",")[2], validate=True)
    except (KeyError, binascii.Error) as error:
        raise ObsError(f"OBS sent no picture of {scene}") from error
