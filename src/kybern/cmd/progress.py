"""What a command tells while it works: one line a step with the time it took, in colour on a terminal only."""

import time
from typing import TextIO

GREEN, RED, FAINT, PLAIN = "\033[32m", "\033[31m", "\033[2m", "\033[0m"
CONTROLS = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0))} | {
    ord(c): " " for c in "\t\r\n"
}


def on_one_line(others: str) -> str:
    """Words of others, a pod's or a plugin's, that say something to who reads them and nothing to the terminal."""
    return others.translate(CONTROLS)


class Progress:
    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.colour = out.isatty()
        self.last = self.started = time.monotonic()

    def reached(self, what: str) -> None:
        now = time.monotonic()
        self._line(GREEN, "✓", f"{what:<44}{self._faint(f'{now - self.last:5.2f} s')}")
        self.last = now

    def note(self, what: str) -> None:
        self._line(FAINT, "·", what)

    def done(self, what: str) -> None:
        self._line(GREEN, "✓", f"{what} {self._faint(f'({time.monotonic() - self.started:.2f} s in all)')}")

    def failed(self, what: str, fix: str = "") -> int:
        """Returns the exit code of a command that failed."""
        self._line(RED, "✗", what)
        if fix:
            self._line(FAINT, " ", f"fix: {fix}")
        return 1

    def _faint(self, text: str) -> str:
        return f"{FAINT}{text}{PLAIN}" if self.colour else text

    def _line(self, colour: str, mark: str, text: str) -> None:
        shown = f"{colour}{mark}{PLAIN}" if self.colour else mark
        print(f"{shown} {text}", file=self.out, flush=True)
