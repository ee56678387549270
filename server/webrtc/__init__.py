"""WebRTC: publishers by WHIP, players by WHEP, browsers by one offer. It needs the extra `webrtc`; its addresses say so.

offers, fragments     SDP in: read, checked, cut down                      limits   how much there may be of everything
peer, pulse, reach    one connection from its offer to its end             peers    all of them
identity              whether it is who its offer says
arriving              packets: how many sources and pieces, and what is none
receiving, incoming   video and sound that come in, bounded                music    the music as a track of Opus
whip, publisher       OBS and others show pictures                         whep     players hear
browser, channel      both at once, and the protocol's messages            resource PATCH and DELETE of a peer
routes                their addresses                                      asking   what they have in common
    bodies                what JSON is sent to them
"""
