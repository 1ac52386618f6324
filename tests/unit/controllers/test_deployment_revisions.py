import pytest

from kybern.api.apps_v1 import ReplicaSet
from kybern.api.meta_v1 import ObjectMeta
from kybern.controllers.deployment.revisions import next_revision
from kybern.controllers.deployment.sizes import REVISION


@pytest.mark.parametrize(
    ("noted", "then"),
    [("1", 2), ("3546343826724305832", 3546343826724305833), ("9" * 9000, 1), ("one", 1)],
    ids=["one", "as large as upstream's suite notes", "beyond int64", "no number"],
)
def test_a_revision_follows_whatever_an_adopted_replicaset_notes(noted: str, then: int) -> None:
    adopted = ReplicaSet(metadata=ObjectMeta(name="old", annotations={REVISION: noted}))
    assert next_revision([adopted]) == then
