"""The starter model's eyes: a small vision tower that learns to tell the attributes of drawn pictures, then stays as it is."""
