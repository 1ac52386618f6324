"""Composition roots: each file builds one process in dependency order, and is read from top to bottom.

main (the command line) → up → supervisor → server, control, node. Nothing below imports this package.
"""
