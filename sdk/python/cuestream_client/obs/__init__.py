"""OBS Studio by its own websocket (obs-websocket 5, part of OBS since 28): pictures of its program, and a source with our music.

connection   requests, answers, events                 places   where OBS keeps port and password
watching     the program up, its scenes as cuts        setup    source, ducking, service
"""
