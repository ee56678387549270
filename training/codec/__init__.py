"""The starter model's codec: what the oscillators must sound like, and the network that learns to ask for it."""
