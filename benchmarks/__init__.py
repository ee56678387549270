"""Measurements that print again any figure of the documentation. Each module is one command; see README.md."""
