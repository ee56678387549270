"""Whether the music follows the picture, and whether it is music: `python -m benchmarks.quality`."""
