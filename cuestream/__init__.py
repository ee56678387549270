"""The command line: files and folders in, files out."""
