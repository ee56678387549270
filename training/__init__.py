"""How the starter model is made: a composer as teacher, a codec, a decoder, and the data between them."""
