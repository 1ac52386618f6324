"""Which ids a user's own namespace has."""

from kybern.linux.user_namespace import Ids, given_ids, id_map, same_ids

SUBUID = """\
alice:100000:65536
bob:165536:65536
1001:300000:1000
alice:broken:65536
alice:400000:10
"""


def test_a_user_is_given_ids_by_name_or_by_number() -> None:
    assert given_ids(SUBUID, "alice", 1000) == [(100_000, 65_536), (400_000, 10)]
    assert given_ids(SUBUID, "carol", 1001) == [(300_000, 1000)]
    assert given_ids("", "alice", 1000) == []


def test_the_user_is_root_and_what_it_is_given_follows_without_a_gap() -> None:
    assert id_map(1000, [(100_000, 65_536), (400_000, 10)]) == (
        Ids(0, 1000, 1),
        Ids(1, 100_000, 65_536),
        Ids(65_537, 400_000, 10),
    )


def test_who_maps_ids_itself_keeps_them_as_they_are() -> None:
    assert same_ids("         0     100000      65536\n     65536     300000          1\n") == (
        Ids(0, 0, 65_536),
        Ids(65_536, 65_536, 1),
    )
