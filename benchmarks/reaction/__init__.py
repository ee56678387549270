"""How soon a flash before the camera is heard: a real browser, a real server, the whole way, by websocket and by WebRTC."""
