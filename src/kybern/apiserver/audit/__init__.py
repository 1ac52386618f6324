"""Audit: who did what, written down as the policy says, without anybody waiting for it."""
