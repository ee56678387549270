"""Sessions in a folder, so that a server that starts again goes on with them. kept: what is in a file. shelf: the folder."""
