"""Probes: asking a container, again and again, whether it has started, is alive, and is ready."""
