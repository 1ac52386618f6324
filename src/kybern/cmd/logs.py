"""Where a process of the cluster writes what it did: one file each below `<data>/logs`, turned over at a bound."""

import logging
import logging.handlers
from pathlib import Path

FILE_BYTES_MAX = 10 * 1024 * 1024
FILES_KEPT = 3
FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s"


def to_file(directory: Path, name: str, *, verbose: bool) -> None:
    handler = logging.handlers.RotatingFileHandler(
        directory / f"{name}.log", maxBytes=FILE_BYTES_MAX, backupCount=FILES_KEPT, delay=True
    )
    to(handler, verbose=verbose)


def to_terminal(*, verbose: bool) -> None:
    to(logging.StreamHandler(), verbose=verbose)


def to(handler: logging.Handler, *, verbose: bool) -> None:
    handler.setFormatter(logging.Formatter(FORMAT, datefmt="%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("asyncio").addFilter(is_news)


def is_news(record: logging.LogRecord) -> bool:
    """That a TLS connection ended while something was being written is told by whoever wrote."""
    return not record.getMessage().startswith("Fatal error on SSL protocol")
