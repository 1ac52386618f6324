"""What one peer may take from the server. Every queue, buffer and wait of the HTTP server has its bound here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    head_bytes_max: int = 1024 * 1024
    """Request line and headers together; upstream's limit."""
    headers_max: int = 1_000
    target_bytes_max: int = 128 * 1024
    small_body_bytes_max: int = 64 * 1024
    """A body of at most this length is read before the handler starts; a longer one is streamed to it."""
    read_buffer_bytes_max: int = 256 * 1024
    """Bytes that wait for the handler before the connection stops reading."""
    write_buffer_bytes_max: int = 64 * 1024
    """Bytes of a stream that wait for the peer before the handler has to wait too."""
    connections_max: int = 16_384
    handshake_seconds: float = 32.0
    """As long as for a head, as upstream: of hundreds who come at once to a busy machine the last ones wait for ten."""
    head_seconds: float = 32.0
    """From the first byte of a request to the end of its head (and of a small body); upstream's ReadHeaderTimeout."""
    idle_seconds: float = 90.0
    """Between two requests on one connection; upstream's IdleTimeout."""
    body_stall_seconds: float = 60.0
    """Without a byte of a body that is not complete."""
    write_stall_seconds: float = 60.0
    """Without a byte taken by a peer that has bytes to take."""
    linger_seconds: float = 0.5
    """How long an answered connection may still send what nobody will read, so that it sees its answer first."""


DEFAULT_LIMITS = Limits()
