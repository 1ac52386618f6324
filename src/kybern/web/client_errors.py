"""What can go wrong with an exchange, by who must act.

ClientError (an OSError)
├── ConnectFailed        nobody answered at that address, or TLS failed
├── ConnectionLost       the connection ended before the answer did; the request may have been carried out
├── ResponseTimeout      no answer within the time allowed; likewise
└── BadResponse          what came is not HTTP
"""


class ClientError(OSError):
    """The exchange failed; the message says where."""


class ConnectFailed(ClientError):
    pass


class ConnectionLost(ClientError):
    pass


class ResponseTimeout(ClientError):
    pass


class BadResponse(ClientError):
    pass


class StaleConnection(Exception):
    """A kept connection ended before the first byte of an answer. It never leaves the client."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent
