"""Recordings: what a session sent, as files in a folder that the operator named.

    session's tick ─► Tape ─ bounded queue ─► Writer's thread ─► Sound, timeline ─► Shelf's folder
                       ▲                          │   │                                ▲
                       └────── opened, finished ──┘   └─► Filming ─ wire ─► process: Film

shelf  the folder: names, its limits, what lies in it        tape   the loop's side: what is to be written
writer the thread's side: one recording, begun to finished   sound  music as FLAC, WAV or Opus
film   the pictures that came in, with the music             filming  the same from outside: `process` makes it
rest   begin, end, look, download

Samples and pictures share one clock, the music's own samples at 48 kHz: a pause of the music is a pause of the recording.
"""
