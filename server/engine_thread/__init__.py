"""The thread that makes the music of all sessions, in one batch.

runner  fetches orders, ticks, hands reports back     voices  a stream for each session     switching  how it shares its core
"""
