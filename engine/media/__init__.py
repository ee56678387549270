"""The way in and out of files: PyAV readers and writers. No clocks, no sockets."""
