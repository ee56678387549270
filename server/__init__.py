"""The live server: pictures come in, music goes out, for many listeners at once.

    client ─ http, webrtc, ingest ─►  sessions  ─ pictures ─►  core  ─ orders ─►  engine_thread ─►  engine
    client ◄─ http, webrtc, output ─  sessions  ◄── audio ───  core  ◄─ reports ─ engine_thread ◄─  engine

core      one listener's session as a state machine        sessions     all of them, on the event loop
protocol  the wire, without I/O                            engine_thread  makes the music of all, in one batch
http      one port: connections, REST, websocket           webrtc       WHIP, WHEP, browsers
pictures  decoded, in processes of their own               audio        resampled, encoded, as messages
ingest    the server itself reads a video                  output       a session is sent on while it plays
recording a session as files                               checkpoints  sessions go on after a restart
access    who may come in, and how often                   system       processes, folders, disks

`app` puts the routes together, `settings` is what an operator chooses, `limits` what of that goes by a name, `metrics` what is
counted. `wire_controls` makes the core's configuration of the wire's. `static` is the page.
"""
