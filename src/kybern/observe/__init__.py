"""Logs, metrics, traces: records, no policy."""
