"""Ingest: the server itself reads a session's video, from a file or the network.

    feeding.py (the server)  ◄─ pictures, sound, notes: pipe.py ──  worker.py (a process of its own)
        │ as from any client                                        │ sources.py: FFmpeg, through PyAV
        ▼                                                           ▼ fetching.py, relay.py: every byte comes through these
      Hosted                                                      address.py: where one may connect to

rest, standing     begun by a request, or with the server  checking, limits  whether it may begin
outlet             the worker's end of the pipe            pacing            when a picture is shown
sounding           sound as the pipe takes it              decrypting        HLS with AES-128
words              why a video cannot be read              aside             name servers that hold up nobody

FFmpeg's libraries are given no address to connect to: over HTTP they ask `fetching` for every playlist and segment, over RTSP
and RTMP they speak with `relay`, and where these connect to was checked by `address` at that moment. SRT they do not speak: the
program `ffmpeg` does, and is given an address in numbers that was checked so (srt.py).
"""
