"""Shuffle sharding: a flow is dealt a small hand of a level's queues and uses the shortest of them.

A flow that floods fills its own hand; another flow has, almost always, a queue in its hand that the flood is not in.
"""

from hashlib import sha256


def flow_hash(schema: str, distinguisher: str) -> int:
    return int.from_bytes(sha256(f"{schema},{distinguisher}".encode()).digest()[:8], "little")


def deal(number: int, deck: int, hand: int) -> tuple[int, ...]:
    """`hand` different cards of a deck, as evenly as the number is."""
    cards = list(range(deck))
    dealt = []
    for _ in range(min(hand, deck)):
        number, place = divmod(number, len(cards))
        dealt.append(cards.pop(place))
    return tuple(dealt)
