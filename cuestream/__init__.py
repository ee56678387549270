"""The command line: files and folders in, files out."""

__version__ = "0.1.0"
INTERRUPTED = 130
"""The exit code of a command that was ended by Ctrl-C."""
