"""Identity and chance as inputs: one source of uids, name suffixes and random choices, seeded in simulations."""

import random
from uuid import UUID

SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # No vowels, no look-alikes: upstream's alphabet for generated names.


class Ids:
    def __init__(self, seed: int | None = None) -> None:
        self.rng: random.Random = random.SystemRandom() if seed is None else random.Random(seed)

    def uid(self) -> str:
        """A random UUID (RFC 9562, version 4)."""
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def suffix(self, length: int = 5) -> str:
        """What `generateName` appends."""
        number = self.rng.getrandbits(8 * length)  # at once: the machine's own source of chance is a system call
        letters = []
        for _ in range(length):
            number, letter = divmod(number, len(SUFFIX_LETTERS))
            letters.append(SUFFIX_LETTERS[letter])
        return "".join(letters)
