"""Scarce numbers that the API server hands out: Service addresses and node ports."""
