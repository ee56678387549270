"""An OBS that answers as obs-websocket 5 does (its docs/generated/protocol.md), over loopback, and keeps what it is told."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from cuestream_client.obs.connection import answer_to
from cuestream_client.pictures import encode_jpeg

SALT, CHALLENGE = "c2FsdA==", "Y2hhbGxlbmdl"
NOT_FOUND, EXISTS, FAILED = 600, 601, 700


class Refused(Exception):
    def __init__(self, code: int, comment: str) -> None:
        super().__init__(comment)
        self.code = code


@dataclass
class FakeObs:
    """colours: what each scene shows, red green blue."""

    password: str = ""
    version: str = "31.0.2"
    kinds: tuple[str, ...] = ("browser_source", "ffmpeg_source", "image_source")
    scenes: dict[str, list[str]] = field(default_factory=lambda: {"Game": [], "Chat": []})
    colours: dict[str, tuple[int, int, int]] = field(
        default_factory=lambda: {"Game": (200, 0, 0), "Chat": (0, 0, 200)}
    )
    inputs: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"Mic/Aux": {"kind": "pulse_input_capture", "settings": {}}}
    )
    special: dict[str, str | None] = field(default_factory=lambda: {"desktop1": None, "mic1": "Mic/Aux"})
    filters: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    service: dict[str, Any] = field(
        default_factory=lambda: {
            "streamServiceType": "rtmp_common",
            "streamServiceSettings": {"service": "Twitch", "key": "live_secret"},
        }
    )
    profile: dict[tuple[str, str], str] = field(
        default_factory=lambda: {("SimpleOutput", "StreamAudioEncoder"): "aac"}
    )
    whip: bool = True
    streaming: bool = False
    current: str = "Game"
    screenshots: int = 0
    port: int = 0
    lines: set[ServerConnection] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def switch(self, scene: str) -> None:
        """As when somebody clicks another scene."""
        self.current = scene
        event = {
            "eventType": "CurrentProgramSceneChanged",
            "eventIntent": 4,
            "eventData": {"sceneName": scene},
        }
        for line in list(self.lines):
            line.send(json.dumps({"op": 5, "d": event}))

    def leave(self) -> None:
        """As when OBS is closed."""
        for line in list(self.lines):
            line.close(1001)

    # --- one connection

    def talk(self, line: ServerConnection) -> None:
        hello: dict[str, Any] = {
            "obsStudioVersion": self.version,
            "obsWebSocketVersion": "5.5.2",
            "rpcVersion": 1,
        }
        if self.password:
            hello["authentication"] = {"salt": SALT, "challenge": CHALLENGE}
        line.send(json.dumps({"op": 0, "d": hello}))
        identify = json.loads(line.recv())["d"]
        if self.password and identify.get("authentication") != answer_to(self.password, SALT, CHALLENGE):
            line.close(4009, "Authentication failed.")
            return
        line.send(json.dumps({"op": 2, "d": {"negotiatedRpcVersion": 1}}))
        if identify["eventSubscriptions"] & 4:
            self.lines.add(line)
        try:
            for raw in line:
                asked = json.loads(raw)["d"]
                line.send(json.dumps({"op": 7, "d": self._answer(asked)}))
        finally:
            self.lines.discard(line)

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        about = {"requestType": asked["requestType"], "requestId": asked["requestId"]}
        work = getattr(self, f"_{asked['requestType']}", None)
        if work is None:
            return about | {"requestStatus": {"result": False, "code": 204, "comment": "unknown request"}}
        try:
            data = work(**asked.get("requestData", {}))
        except Refused as error:
            return about | {"requestStatus": {"result": False, "code": error.code, "comment": str(error)}}
        return about | {"requestStatus": {"result": True, "code": 100}, "responseData": data or {}}

    # --- requests, as the protocol names them

    def _GetVersion(self) -> dict[str, Any]:
        return {"obsVersion": self.version, "obsWebSocketVersion": "5.5.2", "rpcVersion": 1}

    def _GetInputKindList(self) -> dict[str, Any]:
        return {"inputKinds": list(self.kinds)}

    def _GetSceneList(self) -> dict[str, Any]:
        scenes = [{"sceneIndex": i, "sceneName": name} for i, name in enumerate(reversed(self.scenes))]
        return {"currentProgramSceneName": self.current, "scenes": scenes}

    def _GetCurrentProgramScene(self) -> dict[str, Any]:
        return {"currentProgramSceneName": self.current}

    def _GetInputList(self) -> dict[str, Any]:
        return {
            "inputs": [{"inputName": name, "inputKind": held["kind"]} for name, held in self.inputs.items()]
        }

    def _GetSpecialInputs(self) -> dict[str, Any]:
        return dict(self.special)

    def _CreateInput(
        self, sceneName: str, inputName: str, inputKind: str, inputSettings: dict[str, Any]
    ) -> dict[str, Any]:
        if inputName in self.inputs:
            raise Refused(EXISTS, "A source already exists by that input name.")
        if inputKind not in self.kinds:
            raise Refused(605, "Your specified input kind is not supported by OBS.")
        self.inputs[inputName] = {"kind": inputKind, "settings": dict(inputSettings)}
        return self._CreateSceneItem(sceneName, inputName)

    def _CreateSceneItem(self, sceneName: str, sourceName: str) -> dict[str, Any]:
        if self._input(sourceName).get("removed"):
            raise Refused(FAILED, "Failed to create the scene item.")
        self._scene(sceneName).append(sourceName)
        return {"sceneItemId": len(self._scene(sceneName))}

    def _GetSceneItemId(self, sceneName: str, sourceName: str) -> dict[str, Any]:
        if sourceName not in self._scene(sceneName):
            raise Refused(NOT_FOUND, "No scene items were found in the specified scene by that name.")
        return {"sceneItemId": self._scene(sceneName).index(sourceName) + 1}

    def _SetInputSettings(self, inputName: str, inputSettings: dict[str, Any], overlay: bool) -> None:
        self._input(inputName)["settings"] |= inputSettings

    def _SetInputAudioMonitorType(self, inputName: str, monitorType: str) -> None:
        self._input(inputName)["monitor"] = monitorType

    def _SetInputAudioTracks(self, inputName: str, inputAudioTracks: dict[str, bool]) -> None:
        self._input(inputName)["tracks"] = inputAudioTracks

    def _RemoveInput(self, inputName: str) -> None:
        """A scene that is not shown holds it, as OBS has it."""
        self._input(inputName)["removed"] = True
        self.scenes[self.current] = [item for item in self.scenes[self.current] if item != inputName]
        if not any(inputName in items for items in self.scenes.values()):
            del self.inputs[inputName]

    def _RemoveSceneItem(self, sceneName: str, sceneItemId: int) -> None:
        del self._scene(sceneName)[sceneItemId - 1]

    def _GetSourceFilter(self, sourceName: str, filterName: str) -> dict[str, Any]:
        if (sourceName, filterName) not in self.filters:
            raise Refused(NOT_FOUND, "No filter was found.")
        return self.filters[sourceName, filterName]

    def _CreateSourceFilter(
        self, sourceName: str, filterName: str, filterKind: str, filterSettings: dict[str, Any]
    ) -> None:
        if (sourceName, filterName) in self.filters:
            raise Refused(EXISTS, "A filter already exists by that name.")
        self._input(sourceName)
        self.filters[sourceName, filterName] = {"filterKind": filterKind, "filterSettings": filterSettings}

    def _SetSourceFilterSettings(
        self, sourceName: str, filterName: str, filterSettings: dict[str, Any], overlay: bool
    ) -> None:
        self._GetSourceFilter(sourceName, filterName)["filterSettings"] |= filterSettings

    def _GetStreamStatus(self) -> dict[str, Any]:
        return {"outputActive": self.streaming}

    def _GetProfileParameter(self, parameterCategory: str, parameterName: str) -> dict[str, Any]:
        value = self.profile.get((parameterCategory, parameterName))
        return {"parameterValue": value, "defaultParameterValue": None}

    def _GetStreamServiceSettings(self) -> dict[str, Any]:
        return dict(self.service)

    def _SetStreamServiceSettings(
        self, streamServiceType: str, streamServiceSettings: dict[str, Any]
    ) -> None:
        if streamServiceType == "whip_custom" and not self.whip:
            raise Refused(FAILED, "Failed to create the stream service with the requested streamServiceType.")
        self.service = {
            "streamServiceType": streamServiceType,
            "streamServiceSettings": streamServiceSettings,
        }

    def _GetSourceScreenshot(
        self,
        sourceName: str,
        imageFormat: str,
        imageWidth: int,
        imageHeight: int,
        imageCompressionQuality: int,
    ) -> dict[str, Any]:
        self._scene(sourceName)
        self.screenshots += 1
        pixels = np.full((imageHeight * 9 // 16, imageWidth, 3), self.colours[sourceName], np.uint8)
        data = encode_jpeg(pixels)
        return {"imageData": f"data:image/{imageFormat};base64,{base64.b64encode(data).decode()}"}

    def _scene(self, name: str) -> list[str]:
        if name not in self.scenes:
            raise Refused(NOT_FOUND, f"No source was found by the name of `{name}`.")
        return self.scenes[name]

    def _input(self, name: str) -> dict[str, Any]:
        if name not in self.inputs:
            raise Refused(NOT_FOUND, f"No source was found by the name of `{name}`.")
        return self.inputs[name]


@contextlib.contextmanager
def running(obs: FakeObs) -> Iterator[FakeObs]:
    """At a port of its own, or again at the one that it had."""

    def talk(line: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            obs.talk(line)

    choices: Any = {"subprotocols": ["obswebsocket.json"], "compression": None}
    with serve(talk, "127.0.0.1", obs.port, **choices) as server:
        obs.port = server.socket.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield obs
        finally:
            obs.leave()
            server.shutdown()
            thread.join()
