from kybern.reconcile.resource_claims import owner_of_claim
from kybern.testing.builders import pod


def test_a_claim_goes_with_its_pod_and_holds_nobody_who_deletes_that() -> None:
    owner = owner_of_claim(pod("a"))
    assert (owner.kind, owner.name, owner.controller, owner.block_owner_deletion) == ("Pod", "a", True, None)
