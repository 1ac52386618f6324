"""Identity and chance as inputs: one source of uids, name suffixes and random choices, seeded in simulations."""

import random

SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # No vowels, no look-alikes: upstream's alphabet for generated names.

VERSION_BITS = 0xF000 << 64 | 0xC000 << 48
VERSION_4 = 0x4000 << 64 | 0x8000 << 48


class Ids:
    def __init__(self, seed: int | None = None) -> None:
        self.rng: random.Random = random.SystemRandom() if seed is None else random.Random(seed)

    def uid(self) -> str:
        """A random UUID (RFC 9562, version 4)."""
        number = self.rng.getrandbits(128) & ~VERSION_BITS | VERSION_4
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def suffix(self, length: int = 5) -> str:
        """What `generateName` appends."""
        number = self.rng.getrandbits(8 * length)  # at once: the machine's own source of chance is a system call
        letters = []
        for _ in range(length):
            number, letter = divmod(number, len(SUFFIX_LETTERS))
            letters.append(SUFFIX_LETTERS[letter])
        return "".join(letters)
