"""What `cuestream obs setup` changes in OBS: a source with the music in every scene, ducking under the microphone, the service.

Everything may be done again: what is there already is brought to what was asked for, and nothing of somebody else's is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from cuestream_client.obs.connection import NOT_CREATED, Obs, ObsError
from cuestream_client.secrets import without_secrets

BROWSER, MEDIA, COMPRESSOR = "browser_source", "ffmpeg_source", "compressor_filter"
MICROPHONE = "_input_capture"
"""How the kinds of OBS's Audio Input Capture end: wasapi on Windows, coreaudio, pulse, alsa."""
READS_SCENES = 2
"""What a page may ask of OBS, of 0 to 5: which scene is shown, and nothing that changes anything."""
DUCKING = {"ratio": 8.0, "threshold": -36.0, "attack_time": 60, "release_time": 600, "output_gain": 0.0}
RECONNECT_S = 2
STUBBORN = "reconnect_on_network_error=1 reconnect_on_http_error=4xx,5xx reconnect_delay_max=1"
"""Options of FFmpeg, which tries three times in a second before it fails. OBS (29.0.2, 30.2.3) never tries again when opening
fails at once, as where nobody listens: its media ends before OBS has noted it, and looks as if it still played."""
SERVICE = "whip_custom"
WHIP_SINCE = 30
SIZE, SMALL = (480, 90), (64, 64)
"""Pixels of the source with what plays in it, and without."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """urls: of the session, as the server says them. scenes: only into these, None is all of them.

    duck: under this input; "" under the first microphone, None under nothing. key: what OBS publishes with; None: leave its
    service alone.
    """

    urls: dict[str, Any]
    name: str = "Cuestream"
    scenes: tuple[str, ...] | None = None
    overlay: bool = False
    quiet: tuple[str, ...] = ()
    cuts: bool = True
    monitor: bool = False
    duck: str | None = ""
    key: str | None = None


def set_up(obs: Obs, wanted: Wanted) -> Iterator[str]:
    """What was done, a line each. Raises ObsError; what was done until then stays."""
    version = obs.ask("GetVersion")
    if wanted.key is not None:
        _check_whip(obs, wanted, str(version["obsVersion"]))
    kinds = obs.ask("GetInputKindList")["inputKinds"]
    kind = BROWSER if BROWSER in kinds else MEDIA
    settings = browser(wanted) if kind == BROWSER else media(wanted)
    yield f"OBS {version['obsVersion']}, obs-websocket {version['obsWebSocketVersion']}"
    yield from _source(obs, wanted, kind, settings)
    if kind == MEDIA:
        yield "this OBS has no browser source: the music comes as a stream, half a second later, and scenes are not told"
    if wanted.monitor:
        monitored = "OBS_MONITORING_TYPE_MONITOR_AND_OUTPUT"
        obs.ask("SetInputAudioMonitorType", inputName=wanted.name, monitorType=monitored)
        yield "you hear it too, on OBS's monitoring device"
    if wanted.duck is not None:
        yield _duck(obs, wanted.name, wanted.duck)
    if wanted.key is not None:
        yield from _publish(obs, wanted, wanted.key)


def remove(obs: Obs, name: str) -> str:
    """Take the source out of all scenes. What OBS streams to stays as it is."""
    if _kind_of(obs, name) is None:
        raise ObsError(f"OBS has no source named {name}")
    for scene in _scenes(obs):  # one that is not shown would hold the source, and its name, until it is
        while item := obs.find("GetSceneItemId", sceneName=scene, sourceName=name):
            obs.ask("RemoveSceneItem", sceneName=scene, sceneItemId=item["sceneItemId"])
    obs.find("RemoveInput", inputName=name)
    return f"the source {name} is gone from all scenes"


def page(wanted: Wanted) -> str:
    """The address of the browser source."""
    parts = urlsplit(wanted.urls["obs"])
    chosen = {
        "cut": "" if wanted.cuts else "0",
        "quiet": ",".join(wanted.quiet),
        "overlay": "1" if wanted.overlay else "",
    }
    query = "&".join([parts.query, *(f"{name}={quote(value)}" for name, value in chosen.items() if value)])
    return urlunsplit(parts._replace(query=query))


def browser(wanted: Wanted) -> dict[str, Any]:
    """Settings of a browser source: its sound through OBS, and never shut down, so that the music goes on in other scenes."""
    width, height = SIZE if wanted.overlay else SMALL
    return {
        "url": page(wanted),
        "width": width,
        "height": height,
        "reroute_audio": True,
        "shutdown": False,
        "restart_when_active": False,
        "webpage_control_level": READS_SCENES,
        "css": "",
    }


def media(wanted: Wanted) -> dict[str, Any]:
    """Settings of a media source that stays open; OBS connects again when the session begins anew."""
    return {
        "is_local_file": False,
        "input": wanted.urls["audio"]["ogg"],
        "input_format": "ogg",
        "buffering_mb": 1,
        "reconnect_delay_sec": RECONNECT_S,
        "ffmpeg_options": STUBBORN,
        "restart_on_activate": False,
        "close_when_inactive": False,
        "clear_on_media_end": False,
    }


def _source(obs: Obs, wanted: Wanted, kind: str, settings: dict[str, Any]) -> Iterator[str]:
    scenes = _scenes(obs)
    if missing := [scene for scene in wanted.scenes or () if scene not in scenes]:
        raise ObsError(f"OBS has no scene named {missing[0]}; it has {', '.join(scenes)}")
    chosen = [scene for scene in scenes if wanted.scenes is None or scene in wanted.scenes]
    there = _kind_of(obs, wanted.name)
    if there not in (None, kind):
        raise ObsError(f"OBS has a source named {wanted.name} that is a {there}; choose another --name")
    if there:
        obs.ask("SetInputSettings", inputName=wanted.name, inputSettings=settings, overlay=True)
        yield f"the source {wanted.name} ({kind}) was there and has the address now"
    for scene in chosen:
        if there is None:
            obs.ask(
                "CreateInput", sceneName=scene, inputName=wanted.name, inputKind=kind, inputSettings=settings
            )
            there = kind
            yield f"the source {wanted.name} ({kind}) is in the scene {scene}"
        elif obs.find("GetSceneItemId", sceneName=scene, sourceName=wanted.name) is None:
            obs.ask("CreateSceneItem", sceneName=scene, sourceName=wanted.name)
            yield f"and in the scene {scene}"


def _scenes(obs: Obs) -> list[str]:
    """Their names, as OBS shows them from the top."""
    return [str(scene["sceneName"]) for scene in reversed(obs.ask("GetSceneList")["scenes"])]


def _kind_of(obs: Obs, name: str) -> str | None:
    inputs = obs.ask("GetInputList")["inputs"]
    return next((str(found["inputKind"]) for found in inputs if found["inputName"] == name), None)


def _duck(obs: Obs, name: str, under: str) -> str:
    """A compressor whose sidechain is the microphone."""
    voice = under or _microphone(obs)
    if voice is None:
        return "no microphone was found to duck under; name an input with --duck-under"
    if _kind_of(obs, voice) is None:
        raise ObsError(f"OBS has no input named {voice} to duck under")
    settings = {**DUCKING, "sidechain_source": voice}
    about = {"sourceName": name, "filterName": "Duck under the voice"}
    if obs.find("GetSourceFilter", **about) is None:
        obs.ask("CreateSourceFilter", **about, filterKind=COMPRESSOR, filterSettings=settings)
    else:
        obs.ask("SetSourceFilterSettings", **about, filterSettings=settings, overlay=True)
    return f"the music yields to {voice}"


def _microphone(obs: Obs) -> str | None:
    """The first one of OBS's audio settings, or else of its scenes."""
    special = obs.ask("GetSpecialInputs")
    told = [str(special[mic]) for mic in ("mic1", "mic2", "mic3", "mic4") if special.get(mic)]
    inputs = obs.ask("GetInputList")["inputs"]
    captured = [str(each["inputName"]) for each in inputs if str(each["inputKind"]).endswith(MICROPHONE)]
    return next(iter([*told, *captured]), None)


def _check_whip(obs: Obs, wanted: Wanted, version: str) -> None:
    """Raises ObsError before anything is changed."""
    if "whip" not in wanted.urls:
        raise ObsError("the server has no WebRTC: pip install 'cuestream[webrtc]' there")
    if int(version.split(".")[0]) < WHIP_SINCE:
        raise ObsError(f"OBS {version} cannot publish by WHIP, {WHIP_SINCE} and later can")
    if obs.ask("GetStreamStatus")["outputActive"]:
        raise ObsError("OBS is streaming; stop it before its service is changed")


def _publish(obs: Obs, wanted: Wanted, key: str) -> Iterator[str]:
    """OBS streams to our server; the music is not in what it sends, or it would yield to itself."""
    before = obs.ask("GetStreamServiceSettings")
    settings = {"server": wanted.urls["whip"], "bearer_token": key}
    try:
        obs.ask("SetStreamServiceSettings", streamServiceType=SERVICE, streamServiceSettings=settings)
    except ObsError as error:
        if error.code != NOT_CREATED:
            raise
        raise ObsError(
            "this OBS was built without WHIP, as Debian builds it; stream to the server by RTMP"
        ) from None
    obs.ask("SetInputAudioTracks", inputName=wanted.name, inputAudioTracks={"1": False})
    then = before["streamServiceSettings"]
    was = then.get("service") or then.get("server") or before["streamServiceType"]
    yield f"Start Streaming publishes to {wanted.urls['whip']} (before: {without_secrets(was)})"
    yield f"{wanted.name} is not on audio track 1, which is what is streamed"
    if not _sounds_as_opus(obs):
        yield "restart OBS before you stream: until then its sound goes as AAC, which is noise over WHIP"


def _sounds_as_opus(obs: Obs) -> bool:
    """OBS changes its profile to what WHIP needs when it starts, and in its own dialogue; here it sends on what it had (30.2.3,
    32.2.2)."""

    def held(category: str, name: str) -> str:
        found = obs.ask("GetProfileParameter", parameterCategory=category, parameterName=name)
        return str(found["parameterValue"] or found["defaultParameterValue"])

    advanced = held("Output", "Mode") == "Advanced"
    return "opus" in (
        held("AdvOut", "AudioEncoder") if advanced else held("SimpleOutput", "StreamAudioEncoder")
    )
