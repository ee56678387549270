"""From a picture as it travelled to what the player's eyes want, decoded in processes of their own.

seeing   counted, thinned, decoded, shown to the core      mailbox   the newest still picture waits
decoders starts the processes and asks them                worker    what they run      wire  what goes between
imaging  the decoding itself                               headers   how large a decoder would grow, read before it is asked
"""
