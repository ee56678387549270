"""One port: connections and their limits, REST, the websocket, endless sound.

serving        a uvicorn around the app, and how it ends   connections  an end to the patience with slow ones
stream_socket  /v1/stream, from upgrade to close           websocket    the same below: what is read and written when
rest, openapi  sessions by plain requests                  endless      music for OBS, VLC and mpv
refusals       answers that are errors                     answers      the others, as structs
tls            the certificate                             turns        who is heard when all send too much
handshakes     TLS until it is done                        windows_loop timers of a millisecond
"""
