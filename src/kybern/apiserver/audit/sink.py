"""Where audit events go: any number of sinks, each with a bound on what waits, and none that a request waits for."""

from typing import Protocol


class Sink(Protocol):
    """Of one sort; `name` is what metrics call it."""

    name: str

    def put(self, line: bytes) -> bool:
        """Takes an event, as one line of JSON; False where there is no room."""
