import json
from typing import Any

import pytest

from kybern.api.autoscaling_v1 import Scale
from kybern.api.codec import encode, from_builtins
from kybern.registry import RESOURCES
from kybern.registry.resource import Resource

BY_PLURAL = {resource.kind.plural: resource for resource in RESOURCES}
TEMPLATE: Any = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
ONCE: Any = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
SELECTOR = {"matchLabels": {"app": "web"}}


def made(plural: str, **spec: Any) -> Any:
    resource = BY_PLURAL[plural]
    meta = {"name": "x", "namespace": "default", "uid": "u1"}
    return resource.default(from_builtins(resource.kind.type, {"metadata": meta, "spec": spec}))


def lasting(plural: str, **spec: Any) -> Any:
    return made(plural, **{"selector": SELECTOR, "template": TEMPLATE, **spec})


def plain(obj: Any) -> Any:
    return json.loads(encode(obj))


def wrong(plural: str, obj: Any) -> list[str]:
    return [str(error) for error in BY_PLURAL[plural].validate(obj)]


def wrong_change(plural: str, new: Any, old: Any) -> list[str]:
    rule = BY_PLURAL[plural].validate_update
    assert rule is not None
    return [str(error) for error in rule(new, old)]


def without_template(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in ("template", "selector")}


@pytest.mark.parametrize(
    ("plural", "defaults"),
    [
        (
            "deployments",
            {
                "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "strategy": {
                    "type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
                },
            },
        ),
        ("replicasets", {"replicas": 1}),
        (
            "statefulsets",
            {
                "replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady",
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            },
        ),
        (
            "daemonsets",
            {
                "revisionHistoryLimit": 10,
                "updateStrategy": {
                    "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
                },
            },
        ),
    ],
)  # fmt: skip
def test_a_workload_is_made_whole(plural: str, defaults: dict[str, Any]) -> None:
    assert without_template(plain(lasting(plural).spec)) == defaults


def test_a_job_is_made_whole() -> None:
    assert without_template(plain(made("jobs", template=ONCE).spec)) == {
        "backoffLimit": 6, "completionMode": "NonIndexed", "completions": 1, "manualSelector": False,
        "parallelism": 1, "podReplacementPolicy": "TerminatingOrFailed", "suspend": False,
    }  # fmt: skip


def test_a_cronjob_is_made_whole() -> None:
    found = plain(made("cronjobs", schedule="* * * * *", jobTemplate={"spec": {"template": ONCE}}).spec)
    assert {key: value for key, value in found.items() if key != "jobTemplate"} == {
        "concurrencyPolicy": "Allow", "failedJobsHistoryLimit": 1, "schedule": "* * * * *",
        "successfulJobsHistoryLimit": 3, "suspend": False,
    }  # fmt: skip


def test_zero_replicas_is_a_wish_and_no_gap() -> None:
    assert lasting("deployments", replicas=0).spec.replicas == 0


def test_recreate_has_no_rolling_update() -> None:
    assert plain(lasting("deployments", strategy={"type": "Recreate"}).spec.strategy) == {"type": "Recreate"}


def test_a_template_is_made_whole_but_is_no_pod() -> None:
    spec = plain(lasting("deployments").spec.template.spec)
    assert spec["restartPolicy"] == "Always"
    assert "enableServiceLinks" not in spec


NO_MATCH = 'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'


@pytest.mark.parametrize("plural", ["deployments", "replicasets", "statefulsets", "daemonsets"])
def test_a_selector_matches_the_template(plural: str) -> None:
    assert wrong(plural, lasting(plural)) == []
    assert wrong(plural, lasting(plural, selector={"matchLabels": {"app": "db"}})) == [NO_MATCH]
    exists = {"matchExpressions": [{"key": "app", "operator": "Exists"}]}
    assert wrong(plural, lasting(plural, selector=exists)) == []


@pytest.mark.parametrize(
    ("plural", "missing", "empty", "unreadable"),
    [
        ("deployments", ["spec.selector: Required value", NO_MATCH], "deployment", ": invalid label selector"),
        ("replicasets", ["spec.selector: Required value", NO_MATCH], "deployment", ": invalid label selector"),
        ("statefulsets", ["spec.selector: Required value", NO_MATCH], "statefulset", ""),
        ("daemonsets", [NO_MATCH], "daemonset", None),
    ],
)
def test_a_selector_that_is_missing_is_not_one_that_is_empty(
    plural: str, missing: list[str], empty: str, unreadable: str | None
) -> None:
    for absent in (made(plural, template=TEMPLATE), lasting(plural, selector=None)):
        assert wrong(plural, absent) == missing
    for nothing, printed in (({}, "{}"), ({"matchLabels": {}}, '{"matchLabels":{}}')):
        told = f"spec.selector: Invalid value: {printed}: empty selector is invalid for {empty}"
        assert wrong(plural, lasting(plural, selector=nothing)) == [told]
    first, *rest = wrong(plural, lasting(plural, selector={"matchLabels": {"app": "a b"}}))
    assert first.startswith('spec.selector.matchLabels: Invalid value: "a b"')
    value = '{"matchLabels":{"app":"a b"}}'
    assert rest == ([] if unreadable is None else [f"spec.selector: Invalid value: {value}{unreadable}"])


def test_a_missing_selector_stays_missing_on_the_wire() -> None:
    assert "selector" not in plain(made("deployments", template=TEMPLATE).spec)
    assert plain(lasting("deployments", selector={}).spec)["selector"] == {}


@pytest.mark.parametrize("plural", ["deployments", "replicasets", "daemonsets"])
def test_a_selector_never_changes(plural: str) -> None:
    old = lasting(plural)
    both = {**TEMPLATE, "metadata": {"labels": {"app": "web", "tier": "a"}}}
    new = lasting(plural, selector={"matchLabels": {"tier": "a"}}, template=both)
    assert wrong_change(plural, new, old) == [
        'spec.selector: Invalid value: {"matchLabels":{"tier":"a"}}: field is immutable'
    ]


@pytest.mark.parametrize(
    ("plural", "spec", "message"),
    [
        ("deployments", {"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (
            "deployments",
            {"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}},
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            "deployments",
            {"strategy": {"type": "Sudden"}},
            'spec.strategy: Unsupported value: {"type":"Sudden"}: supported values: "Recreate", "RollingUpdate"',
        ),
        (
            "deployments",
            {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            "deployments",
            {"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}},
            'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%',
        ),
        (
            "deployments",
            {"minReadySeconds": 600},
            "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
        ),
        (
            "deployments",
            {"template": ONCE},
            'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
        ),
        (
            "statefulsets",
            {"podManagementPolicy": "Any"},
            "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'",
        ),
        (
            "daemonsets",
            {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}},
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ),
    ],
)
def test_a_bad_workload_is_refused_in_upstreams_words(plural: str, spec: dict[str, Any], message: str) -> None:
    assert wrong(plural, lasting(plural, **spec)) == [message]


def test_most_of_a_statefulset_stays_as_it_is() -> None:
    (found,) = wrong_change("statefulsets", lasting("statefulsets", serviceName="b"), lasting("statefulsets"))
    assert found == (
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
        "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
        "forbidden"
    )
    assert wrong_change("statefulsets", lasting("statefulsets", replicas=3), lasting("statefulsets")) == []


def test_a_claim_template_can_be_mounted() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    mount = {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}
    found = lasting("statefulsets", volumeClaimTemplates=[claim], template={**TEMPLATE, "spec": mount})
    assert wrong("statefulsets", found) == []


def test_an_annotation_makes_another_generation_of_a_deployment() -> None:
    generation = BY_PLURAL["deployments"].generation
    assert generation is not None
    old = lasting("deployments")
    noted = from_builtins(type(old), {**plain(old), "metadata": {"name": "x", "annotations": {"a": "b"}}})
    assert generation(noted) != generation(old)


def test_a_daemonset_counts_its_templates_in_an_annotation() -> None:
    daemonsets = BY_PLURAL["daemonsets"]
    key = "deprecated.daemonset.template.generation"
    first = daemonsets.on_create(lasting("daemonsets"))
    assert first.metadata.annotations == {key: "1"}
    same = daemonsets.on_update(lasting("daemonsets"), first)
    assert same.metadata.annotations == {key: "1"}
    newer = {**TEMPLATE, "spec": {"containers": [{"name": "c", "image": "i:2"}]}}
    assert daemonsets.on_update(lasting("daemonsets", template=newer), same).metadata.annotations == {key: "2"}


# --- scale ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plural", ["deployments", "replicasets", "statefulsets", "replicationcontrollers"])
def test_a_scale_shows_and_sets_the_replicas(plural: str) -> None:
    (sub,) = [sub for sub in BY_PLURAL[plural].subresources if sub.name == "scale"]
    assert sub.kind is not None
    assert sub.read is not None
    assert sub.write is not None
    selector = {"app": "web"} if plural == "replicationcontrollers" else SELECTOR
    obj = lasting(plural, replicas=2, selector=selector)
    assert (sub.kind.group, sub.kind.kind) == ("autoscaling", "Scale")
    found = plain(sub.read(obj))
    assert (found["spec"], found["status"]) == ({"replicas": 2}, {"replicas": 0, "selector": "app=web"})
    scaled = sub.write(obj, from_builtins(Scale, {"spec": {"replicas": 5}}))
    assert scaled.spec.replicas == 5
    assert list(sub.validate(scaled, obj)) == []
    below = sub.write(obj, from_builtins(Scale, {"spec": {"replicas": -1}}))
    assert [e.field for e in sub.validate(below, obj)] == ["spec.replicas"]
    assert sub.write(obj, Scale()).spec.replicas == 0


# --- jobs -------------------------------------------------------------------------------------------------------------


def job(**spec: Any) -> Any:
    return BY_PLURAL["jobs"].on_create(made("jobs", **{"template": ONCE, **spec}))


def test_a_job_selects_its_own_pods() -> None:
    found = plain(job().spec)
    assert found["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}}
    assert found["template"]["metadata"]["labels"] == {
        "app": "web", "controller-uid": "u1", "job-name": "x", "batch.kubernetes.io/controller-uid": "u1",
        "batch.kubernetes.io/job-name": "x",
    }  # fmt: skip
    assert wrong("jobs", job()) == []


def test_a_job_adds_itself_to_a_selector_that_was_given() -> None:
    for given in ({}, {"matchLabels": {}}):
        found = job(selector=given)
        assert plain(found.spec)["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}}
        assert wrong("jobs", found) == []
    found = job(selector={"matchLabels": {"app": "web"}})
    assert plain(found.spec)["selector"] == {"matchLabels": {"app": "web", "batch.kubernetes.io/controller-uid": "u1"}}


@pytest.mark.parametrize("key", ["controller-uid", "job-name", "batch.kubernetes.io/controller-uid"])
def test_a_copy_of_a_job_does_not_take_the_labels_of_the_first(key: str) -> None:
    copied = {**ONCE, "metadata": {"labels": {**ONCE["metadata"]["labels"], key: "first"}}}
    own = "x" if key == "job-name" else "u1"
    labels = {**job().spec.template.metadata.labels, key: "first"}
    found = wrong("jobs", job(template=copied))
    place = f"spec.template.metadata.labels[{key}]: Invalid value: "
    assert found[0] == f"{place}{json.dumps(dict(sorted(labels.items())), separators=(',', ':'))}: must be '{own}'"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"template": TEMPLATE},
            'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
        ),
        ({"parallelism": -1}, "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"),
        (
            {"completionMode": "Indexed", "parallelism": 1},
            "spec.completions: Required value: when completion mode is Indexed",
        ),
    ],
)
def test_a_bad_job_is_refused_in_upstreams_words(spec: dict[str, Any], message: str) -> None:
    assert wrong("jobs", job(**spec)) == [message]


def test_the_work_of_a_job_does_not_change_while_it_runs() -> None:
    assert wrong_change("jobs", job(completions=3, parallelism=1), job(completions=2, parallelism=1)) == [
        "spec.completions: Invalid value: 3: field is immutable"
    ]
    assert wrong_change("jobs", job(parallelism=3, completions=1), job(parallelism=2, completions=1)) == []


@pytest.mark.parametrize(
    "schedule", ["* * * * *", "*/5 0-6,12 1 JAN-MAR MON", "@hourly", "@every 1h30m", "0 0 ? * 0-6"]
)
def test_a_good_schedule_is_accepted(schedule: str) -> None:
    assert wrong("cronjobs", made("cronjobs", schedule=schedule, jobTemplate={"spec": {"template": ONCE}})) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": ""}, "spec.schedule: Required value"),
        ({"schedule": "* *"}, 'spec.schedule: Invalid value: "* *": expected exactly 5 fields, found 2: [* *]'),
        (
            {"schedule": "60 * * * *"},
            'spec.schedule: Invalid value: "60 * * * *": end of range (60) above maximum (59): 60',
        ),
        ({"schedule": "@daybreak"}, 'spec.schedule: Invalid value: "@daybreak": unrecognized descriptor: @daybreak'),
        (
            {"schedule": "TZ=UTC * * * * *"},
            'spec.schedule: Invalid value: "TZ=UTC * * * * *": '
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ),
        ({"timeZone": "Mars/Olympus"}, 'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus'),
        (
            {"concurrencyPolicy": "Maybe"},
            'spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace"',
        ),
    ],
)
def test_a_bad_cronjob_is_refused_in_upstreams_words(fields: dict[str, Any], message: str) -> None:
    spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": ONCE}}, **fields}
    assert wrong("cronjobs", made("cronjobs", **spec)) == [message]


def test_every_workload_leaves_the_status_to_its_subresource() -> None:
    for plural in ("deployments", "replicasets", "statefulsets", "jobs"):
        resource: Resource = BY_PLURAL[plural]
        obj = lasting(plural) if plural != "jobs" else job()
        told = from_builtins(resource.kind.type, {**plain(obj), "status": {"replicas": 3, "succeeded": 3}})
        assert resource.on_create(told).status == obj.status
        assert resource.on_update(told, obj).status == obj.status
        (sub,) = [sub for sub in resource.subresources if sub.name == "status"]
        assert sub.write is not None
        assert sub.write(obj, told).status == told.status
