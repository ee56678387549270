"""Measurements that print any figure of the documentation again; README.md has the commands."""
