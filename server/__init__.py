"""The server: sessions, playout, transports. Part 3 of the plan builds it; nothing imports it but the command line."""
