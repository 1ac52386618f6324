"""componentstatuses: the parts of the control plane, as well as their leases are fresh."""

from typing import Any

import pytest

from kybern.api.coordination_v1 import Lease, LeaseSpec
from kybern.apiserver.components import wrong_with_leader

STATUSES = "/api/v1/componentstatuses"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z


async def test_whoever_renews_its_lease_is_healthy(api: Any) -> None:
    moment = f"{api.server.machine.now()[:-1]}.000000Z"
    spec = {"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": moment}
    await api.post("/api/v1/namespaces", {"metadata": {"name": "kube-system"}})
    assert (await api.post(LEASES, {"metadata": {"name": "kube-scheduler"}, "spec": spec})).status == 201
    table = (await api.get(STATUSES, accept=TABLE)).body
    nobody = "nobody holds the lease kube-system/kube-controller-manager"
    assert [row["cells"] for row in table["rows"]] == [
        ["controller-manager", "Unhealthy", nobody, nobody],
        ["etcd-0", "Healthy", "ok", ""],
        ["scheduler", "Healthy", "ok", ""],
    ]
    one = (await api.get(f"{STATUSES}/scheduler")).body
    assert one["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]
    assert (await api.get(f"{STATUSES}/cook")).status == 404
    listed = (await api.get(f"{STATUSES}?fieldSelector=metadata.name=etcd-0")).body["items"]
    assert [item["metadata"]["name"] for item in listed] == ["etcd-0"]


@pytest.mark.parametrize(
    ("lease", "wrong"),
    [
        (None, "nobody holds the lease kube-system/l"),
        (Lease(spec=LeaseSpec()), "nobody holds the lease kube-system/l"),
        (
            Lease(spec=LeaseSpec(holder_identity="me", lease_duration_seconds=15, renew_time="2025-12-31T23:59:44Z")),
            "me has not renewed the lease kube-system/l since 2025-12-31T23:59:44Z",
        ),
        (Lease(spec=LeaseSpec(holder_identity="me", lease_duration_seconds=15, renew_time="2025-12-31T23:59:46Z")), ""),
    ],
)
def test_a_leader_is_well_until_its_lease_has_run_out(lease: Lease | None, wrong: str) -> None:
    assert wrong_with_leader("l", lease, NOW) == wrong
