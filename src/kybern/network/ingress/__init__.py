"""Ingress: names and paths from outside to Services, by a proxy of ours on the `web` core.

Reading order: routing (objects to a table, a request to a route), proxy (carries requests), following (keeps the table,
certificates and statuses current).
"""
