"""HTTP/2 for the proxies: many requests on one connection, and trailers, which gRPC needs (RFC 9113).

`h2` keeps the protocol's state and turns frames into events; nothing here knows a frame. It is imported where a connection
speaks HTTP/2 and nowhere else.

Reading order: connection (what both ends share), server (one connection of `web.server`), client, choosing (which version a
connection of a server speaks).
"""
