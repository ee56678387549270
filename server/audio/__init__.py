"""From the core's chunks to what listeners get, and the original sound that comes with a video.

feed        one listener's chunks at the wire's rate       resampling      one resampler that keeps its state
packing     PCM, FLAC and Opus                             speaker         as numbered binary messages
original_sound   measured for ducking, kept for outputs
"""
