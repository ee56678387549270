"""The starter model's codec: what the oscillators must sound like (sounds, amplitudes), and the network that learns to ask."""
