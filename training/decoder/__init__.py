"""The starter model's eyes and decoder: what it is shown (views), what it must play (tokens), and how it learns."""
