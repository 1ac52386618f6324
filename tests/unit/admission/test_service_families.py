"""Goal: a Service has the address families that upstream gives it. Method: what is asked for, by value, against clusters of
one family and of two."""

import pytest
from msgspec.structs import replace

from kybern.api.core_v1 import ServiceSpec
from kybern.apiserver.allocation.families import with_families

BOTH = ("IPv4", "IPv6")
SIX_FIRST = ("IPv6", "IPv4")


def spec(policy: str | None = None, *families: str, ips: tuple[str, ...] = (), **more: object) -> ServiceSpec:
    more = {"selector": {"app": "web"}, "cluster_ip": ips[0] if ips else None, **more}
    return ServiceSpec(
        type="ClusterIP", ip_family_policy=policy, ip_families=families or None, cluster_ips=ips or None, **more
    )


def settled(wanted: ServiceSpec, offered: tuple[str, ...] = BOTH, old: ServiceSpec | None = None) -> tuple[object, ...]:
    found, errors = with_families(wanted, old, offered)
    assert not errors
    return found.ip_family_policy, found.ip_families


def wrong(wanted: ServiceSpec, offered: tuple[str, ...] = BOTH, old: ServiceSpec | None = None) -> list[str]:
    """Each without the value that is wrong."""
    texts = [str(error).split(": ") for error in with_families(wanted, old, offered)[1]]
    return [f"{text[0]}: {text[-1]}" for text in texts]


@pytest.mark.parametrize(
    ("asked", "offered", "expected"),
    [
        (spec(), BOTH, ("SingleStack", ("IPv4",))),
        (spec(), SIX_FIRST, ("SingleStack", ("IPv6",))),
        (spec("PreferDualStack"), BOTH, ("PreferDualStack", BOTH)),
        (spec("PreferDualStack"), ("IPv4",), ("PreferDualStack", ("IPv4",))),
        (spec("PreferDualStack", "IPv6"), BOTH, ("PreferDualStack", SIX_FIRST)),
        (spec("RequireDualStack"), SIX_FIRST, ("RequireDualStack", SIX_FIRST)),
        (spec(None, "IPv6"), BOTH, ("SingleStack", ("IPv6",))),
        (spec(None, ips=("fd00::7",)), BOTH, ("SingleStack", ("IPv6",))),
        (spec("PreferDualStack", ips=("fd00::7",)), BOTH, ("PreferDualStack", SIX_FIRST)),
        (spec(cluster_ip="None"), BOTH, ("SingleStack", ("IPv4",))),
        (spec(cluster_ip="None", selector=None), ("IPv4",), ("RequireDualStack", BOTH)),
        (spec("SingleStack", cluster_ip="None", selector=None), ("IPv4",), ("SingleStack", ("IPv4",))),
    ],
)
def test_a_new_service_has_the_families_that_it_asks_for_as_far_as_the_cluster_has_them(
    asked: ServiceSpec, offered: tuple[str, ...], expected: tuple[object, ...]
) -> None:
    assert settled(asked, offered) == expected


def test_two_of_something_need_a_policy_of_two() -> None:
    assert wrong(spec("SingleStack", *BOTH)) == [
        "spec.ipFamilyPolicy: must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
    ]
    assert wrong(spec("SingleStack", ips=("10.0.0.1", "fd00::1"))) == [
        "spec.ipFamilyPolicy: must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"
    ]


def test_what_the_cluster_does_not_have_is_refused() -> None:
    assert wrong(spec("RequireDualStack", "IPv4", "IPv6"), ("IPv4",)) == [
        "spec.ipFamilyPolicy: this cluster is not configured for dual-stack services",
        "spec.ipFamilies[1]: not configured on this cluster",
    ]
    assert wrong(spec(ips=("fd00::1",)), ("IPv4",)) == ["spec.clusterIPs[0]: IPv6 is not configured on this cluster"]


DUAL = spec("RequireDualStack", *BOTH, ips=("10.0.0.1", "fd00::1"))


def test_a_policy_of_one_gives_back_the_second_family_and_its_address() -> None:
    found, errors = with_families(replace(DUAL, ip_family_policy="SingleStack"), DUAL, BOTH)
    assert not errors
    assert (found.ip_families, found.cluster_ips) == (("IPv4",), ("10.0.0.1",))


def test_the_second_address_is_given_back_by_the_policy_only() -> None:
    left_out = replace(DUAL, cluster_ips=("10.0.0.1",), ip_families=("IPv4",))
    assert wrong(left_out, BOTH, DUAL) == [
        "spec.ipFamilyPolicy: must be 'SingleStack' to release the secondary cluster IP",
        "spec.ipFamilyPolicy: must be 'SingleStack' to release the secondary IP family",
    ]


def test_who_prefers_two_is_not_widened_because_the_cluster_was() -> None:
    narrow = spec("PreferDualStack", "IPv4", ips=("10.0.0.1",))
    assert settled(narrow, BOTH, narrow) == ("PreferDualStack", ("IPv4",))
    single = spec("SingleStack", "IPv4", ips=("10.0.0.1",))
    assert settled(narrow, BOTH, single) == ("PreferDualStack", BOTH)
