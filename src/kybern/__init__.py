"""Kubernetes, written in Python."""
