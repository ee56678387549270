"""VidMuse, once, in PyTorch: what the pictures mean (vision, long_short), what is played (decoder), how it sounds (codec)."""
