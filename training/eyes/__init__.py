"""The starter model's eyes: a small vision tower that learns to tell the attributes of drawn pictures, and is then kept as it is."""
