"""Outputs: a session's result, sent on while it is made: to an RTMP or SRT server, as HLS, into a file.

    session's tick ─► Output ─ bounded queue ─► Sender's thread ─ pipe ─► child process: encoders, muxer, network
                        ▲                           │    ▲                   │
                        └───────── how it stands ───┘    └── opened, sent ───┘

targets   what an address stands for, and who may be sent to     outputs  the loop's side: which there are, what each is told
sender    the thread's side: queue, reconnecting, limits         child    starts the process, feeds it, ends it when it hangs
process   the process: one connection, opened to finished        reel     music and pictures as packets, a constant delay between
wire      what goes through the pipe                             original the video's own sound, where it belongs
rest      begin, end, look                                       limits   how much of everything

FFmpeg may wait for a server without an end and holds Python's lock while it connects, hence the process: it is
ended from outside.
An output runs in real time: while no music plays it is silent, and a connection stays up.
"""
