"""One listener's session as a state machine. It reads no clock and does no I/O, so that tests play hours of it in seconds.

session   called with the time and what happened           config      how a session is to be
intake    frames come in, stamped with their step          orders      what crosses to the engine's thread, and back
playout   music becomes chunks when they are due           delivery    what this client has not got yet
clock     which sample is due when                         conceal     what sounds when the music is late
mixing    gain, fade, ducking                              ring        the newest samples by absolute index
controls  what a listener may ask                          policies    what that changes in the mix or the stream
degrade   what is given up when the device is slow         checkpoint  what it needs to go on elsewhere
errors    what a client may get wrong
"""
