"""`cuestream bench gpu`: what one NVIDIA GPU does with this model, and how near that is to what its memory allows."""
