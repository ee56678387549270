"""The sessions of a server, on its event loop: who is connected to which, what is due when, what clients are told.

host      all sessions                                     hosted         one of them
shared    what they share                                  conversation   what is said on one connection
schedule, ticker   whose turn it is, and when the loop wakes  outbox      what one websocket is still to be sent
status, notices    what clients are told                   memory_state   which pictures the music knows
leaving   how a server restarts or drains              lifetime       when a session ends
"""
