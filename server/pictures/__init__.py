"""Pictures that clients send are decoded in processes of their own, for decoders read what strangers wrote.

    Watching ─► Decoders (on the event loop) ── wire ──► worker: one decoder for each session ── wire ──► Decoders ─► Watching

And the loop keeps the interpreter to itself: a decoder in a thread takes it and gives it back a dozen times a picture.
"""
