"""Whom a request concerns: the rules, selectors and conditions that webhooks and policies share."""
