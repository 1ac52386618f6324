"""Upstream's admission plugins, one a file: what a write is given, and why it may be refused."""
