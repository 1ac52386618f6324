"""A job's template is fixed; while it rests and none of its pods is left, where they will run may be changed."""

import pytest
from spoilt import Places, spoilt

SUSPENDED: Places = {"spec.suspend": True}
STARTED: Places = {"spec.suspend": True, "status": {"startTime": "2020-01-01T00:00:00Z"}}
BUSY: Places = {"spec.suspend": True, "status": {"active": 1}}
ZONE: Places = {"spec.template.spec.nodeSelector": {"zone": "a"}}
OTHER_IMAGE: Places = {"spec.template.spec.containers.0.image": "other"}
OTHER_AFFINITY: Places = {"spec.template.spec.affinity": {"podAntiAffinity": {}}}


@pytest.mark.parametrize(
    ("places", "was"),
    [
        (ZONE, {}),
        (SUSPENDED | OTHER_IMAGE, SUSPENDED),
        (SUSPENDED | OTHER_AFFINITY, SUSPENDED),
        (SUSPENDED | ZONE, STARTED),
        (SUSPENDED | ZONE, BUSY),
    ],
)
def test_a_template_is_fixed(places: Places, was: Places) -> None:
    [said] = spoilt("Job", places, was)
    assert said.startswith("spec.template: ") and said.endswith(": field is immutable")
