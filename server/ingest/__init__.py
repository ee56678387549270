"""Ingest: the server itself reads a session's video, from a file or the network.

    feeding.py (the server)  ◄─ pictures, levels, notes: pipe.py ─  worker.py (a process of its own)
        │ as from any client                                        │ sources.py: FFmpeg, through PyAV
        ▼                                                           ▼ fetching.py, relay.py: every byte comes through these
      Hosted                                                      address.py: where one may connect to

FFmpeg's libraries are given no address to connect to: over HTTP they ask `fetching` for every playlist and segment, over RTSP
and RTMP they speak with `relay`, and where these connect to was checked by `address` at that moment. SRT they do not speak: the
program `ffmpeg` does, and is given an address in numbers that was checked so (srt.py).
"""
