"""The command line: files and folders in, files out."""

__version__ = "0.1.0"
