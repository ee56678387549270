"""How late the music is: a real server in its own process, and paced listeners in others."""
