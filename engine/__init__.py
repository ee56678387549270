"""The model and the stream: a small deterministic core without sockets, clocks or random globals."""
