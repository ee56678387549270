"""The wire protocol `cuestream.v1` without any I/O: bytes in, values out, and back.

limits   what is too much          values    numbers and their ranges
errors   codes, closes             config    what a listener may turn
messages JSON control messages     control   text <-> messages
media    binary media messages     reader    what arrives on one connection
schemas  JSON Schemas of structs     golden    vectors for every client
generate writes the schema, the vectors, and what `typescript` and `asyncapi` make of them

It knows no socket, no clock and no engine. `docs/protocol.md` says byte by byte what this package does.
"""

SUBPROTOCOL = "cuestream.v1"
PROTOCOL_MINOR = 0
"""Grows with every addition; a change that breaks an old client is `cuestream.v2`."""
