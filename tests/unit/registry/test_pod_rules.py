"""Rules of pods that few people meet, one case each, by upstream's field paths and words."""

from typing import Any

import pytest

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod, PodTemplate
from kybern.registry.pods import PODS
from kybern.registry.templates import POD_TEMPLATES

C = {"name": "c", "image": "i:1"}
V = "spec.volumes[0]"
CONTAINER = "spec.containers[0]"
SUBS = {sub.name: sub for sub in PODS.subresources}


def pod(annotations: dict[str, str] | None = None, status: dict[str, Any] | None = None, **spec: Any) -> Pod:
    meta = {"name": "web", "namespace": "default", "annotations": annotations or {}}
    whole = {"containers": [C], "serviceAccountName": "default", **spec}
    return PODS.default(from_builtins(Pod, {"metadata": meta, "spec": whole, "status": status or {}}))


def wrong(annotations: dict[str, str] | None = None, **spec: Any) -> list[str]:
    return [str(error) for error in PODS.validate(pod(annotations, **spec))]


def source(**fields: Any) -> list[str]:
    return wrong(volumes=[{"name": "v", **fields}])


VOLUMES: list[tuple[dict[str, Any], list[str]]] = [
    ({"iscsi": {"targetPortal": "p", "iqn": "x", "lun": 0}}, [f'{V}.iscsi.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or naa']),
    ({"iscsi": {"targetPortal": "p", "iqn": "iqn.2020", "lun": 256}}, [f'{V}.iscsi.iqn: Invalid value: "iqn.2020": must be valid format', f"{V}.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive"]),
    ({"iscsi": {"targetPortal": "p", "iqn": "iqn.2020-01.com.example:x", "lun": 0, "chapAuthSession": True}}, [f"{V}.iscsi.secretRef: Required value"]),
    ({"fc": {}}, [f"{V}.fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both"]),
    ({"fc": {"targetWWNs": ["a"]}}, [f"{V}.fc.lun: Required value: lun is required if targetWWNs is specified"]),
    ({"flocker": {}}, [f"{V}.flocker: Required value: one of datasetName and datasetUUID is required"]),
    ({"flocker": {"datasetName": "a/b"}}, [f"{V}.flocker.datasetName: Invalid value: \"a/b\": must not contain '/'"]),
    ({"quobyte": {"registry": "x", "volume": "v"}}, [f'{V}.quobyte.registry: Invalid value: "x": must be a host:port pair or multiple pairs separated by commas']),
    ({"gcePersistentDisk": {"pdName": "", "partition": 256}}, [f"{V}.persistentDisk.pdName: Required value", f"{V}.persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive"]),
    ({"flexVolume": {"driver": "d", "options": {"a.k8s.io/x": "1"}}}, [f'{V}.flexVolume.options[a.k8s.io/x]: Invalid value: "a.k8s.io/x": kubernetes.io and k8s.io namespaces are reserved']),
    ({"azureDisk": {"diskName": "d", "diskURI": "x", "kind": "Managed"}}, [f'{V}.azureDisk.diskURI: Unsupported value: "x": supported values: "/subscriptions/{{sub-id}}/resourcegroups/{{group-name}}/providers/microsoft.compute/disks/{{disk-id}}"']),
    ({"cinder": {"volumeID": "x", "secretRef": {}}}, [f"{V}.cinder.secretRef.name: Required value"]),
    ({"nfs": {"server": "s", "path": ""}}, [f"{V}.nfs.path: Required value", f'{V}.nfs.path: Invalid value: "": must be an absolute path']),
    ({"persistentVolumeClaim": {"claimName": "Any_Thing"}}, []),
    ({"emptyDir": {"medium": "Whatever"}}, []),
    ({"image": {"reference": "r", "pullPolicy": "x"}}, [f'{V}.image.pullPolicy: Unsupported value: "x": supported values: "Always", "IfNotPresent", "Never"']),
    ({"ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "x"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}}}}, [f"{V}.ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set"]),
    ({"projected": {"sources": [{}]}}, []),
    ({"projected": {"sources": [{"secret": {"name": "s", "items": [{"key": "k", "path": "p"}]}}, {"configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}]}}, [f'{V}.projected: Invalid value: "c": conflicting duplicate paths']),
    ({"projected": {"sources": [{"serviceAccountToken": {"path": ""}}]}}, [f"{V}.projected.path: Required value"]),
    ({"projected": {"sources": [{"clusterTrustBundle": {"path": "p"}}]}}, [f"{V}.projected.sources[0].clusterTrustBundle: Required value: either name or signerName must be specified"]),
    ({"projected": {"sources": [{"clusterTrustBundle": {"path": "p", "name": "n", "labelSelector": {}}}]}}, [f"{V}.projected.sources[0].clusterTrustBundle.labelSelector: Invalid value: {{}}: labelSelector must be unset if name is specified"]),
    ({"projected": {"sources": [{"podCertificate": {"signerName": "a.com/b", "keyType": "x", "keyPath": "k"}}]}}, [f'{V}.projected.sources[0].podCertificate.keyType: Unsupported value: "x": supported values: "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"']),
    ({"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.labels['a b']"}}]}}, [f"{V}.downwardAPI.fieldRef: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"]),
    ({"downwardAPI": {"items": [{"path": "p", "resourceFieldRef": {"containerName": "c", "resource": "limits.ephemeral-storage", "divisor": "2"}}]}}, [f'{V}.downwardAPI.resourceFieldRef.divisor: Invalid value: "limits.ephemeral-storage": only divisor\'s values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource']),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "said"), VOLUMES)
def test_a_volume_is_what_its_driver_needs(fields: dict[str, Any], said: list[str]) -> None:
    assert source(**fields) == said


def claimed(names: list[Any]) -> dict[str, Any]:
    return {
        "resourceClaims": [{"name": "a", "resourceClaimName": "x"}],
        "containers": [{**C, "resources": {"claims": names}}],
    }


BLOCK = {"volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}
AFFINE = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}}  # fmt: skip
SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"a": "b"}}}  # fmt: skip
AT_AFFINITY = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"
PREFERRED = {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["no label value!"]}]}}  # fmt: skip


def affinity(**fields: Any) -> dict[str, Any]:
    return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{**AFFINE, **fields}]}}}


SPECS: list[tuple[dict[str, Any], list[str]]] = [
    ({"containers": [{**C, **BLOCK}], "volumes": [{"name": "v"}]}, [f'{CONTAINER}.volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode']),
    ({"containers": [{**C, "volumeMounts": [{"name": "v", "mountPath": "/x"}]}], "volumes": [{"name": "v", "secret": {}}]}, ["spec.volumes[0].secret.secretName: Required value", f'{CONTAINER}.volumeMounts[0].name: Not found: "v"']),
    ({"containers": [{**C, "lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}]}, [f"{CONTAINER}.lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"]),
    ({"containers": [{**C, "lifecycle": {"stopSignal": "SIGHUP"}}]}, [f"{CONTAINER}.lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`"]),
    ({"containers": [{**C, "lifecycle": {"stopSignal": "SIGRTMIN+3"}}], "os": {"name": "linux"}}, []),
    ({"containers": [{**C, "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}], "restartPolicy": "Never"}, [f"{CONTAINER}.resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'"]),
    ({"containers": [{**C, "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]}]}, [f"{CONTAINER}.restartPolicy: Required value: must specify restartPolicy when restart rules are used"]),
    ({"containers": [{**C, "restartPolicy": "Never", "restartPolicyRules": [{"action": "Stop", "exitCodes": {"operator": "In", "values": [1]}}]}]}, [f'{CONTAINER}.restartPolicyRules[0].action: Unsupported value: "Stop": supported values: "Restart", "RestartAllContainers"']),
    ({"containers": [{**C, "resources": {"limits": {"foo": "1"}}}]}, [f'{CONTAINER}.resources.limits[foo]: Invalid value: "foo": must be a standard resource type or fully qualified', f'{CONTAINER}.resources.limits[foo]: Invalid value: "foo": must be a standard resource for containers', f'{CONTAINER}.resources.requests[foo]: Invalid value: "foo": must be a standard resource type or fully qualified', f'{CONTAINER}.resources.requests[foo]: Invalid value: "foo": must be a standard resource for containers']),
    ({"containers": [{**C, "resources": {"limits": {"pods": "1"}, "requests": {"pods": "1"}}}]}, [f'{CONTAINER}.resources.limits[pods]: Invalid value: "pods": must be a standard resource for containers', f'{CONTAINER}.resources.requests[pods]: Invalid value: "pods": must be a standard resource for containers']),
    ({"containers": [{**C, "resources": {"limits": {"cpu": "1", "hugepages-2Mi": "3Mi"}, "requests": {"cpu": "1", "hugepages-2Mi": "3Mi"}}}]}, [f'{CONTAINER}.resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi', f'{CONTAINER}.resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi']),
    (claimed([{"name": "b"}]), [f'{CONTAINER}.resources.claims[0]: Not found: "b": must be one of the names in pod.spec.resourceClaims: a']),
    (claimed([{"name": "a", "request": "r"}, {"name": "a"}]), [f'{CONTAINER}.resources.claims[1]: Duplicate value: "a"']),
    ({"resourceClaims": [{"name": "a", "resourceClaimName": "x", "resourceClaimTemplateName": "y"}]}, ['spec.resourceClaims[0]: Invalid value: {"name":"a","resourceClaimName":"x","resourceClaimTemplateName":"y"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified']),
    ({"resources": {"limits": {"ephemeral-storage": "1"}}}, ['spec.resources.limits[ephemeral-storage]: Unsupported value: "ephemeral-storage": supported values: "cpu", "memory"']),
    ({"resources": {"requests": {"cpu": "1"}}, "containers": [{**C, "resources": {"requests": {"cpu": "2"}}}]}, ['spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 2']),
    ({"resources": {"limits": {"cpu": "1"}}, "containers": [{**C, "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}}]}, ['spec.resources.containers[0][cpu].limits: Invalid value: "2": must be less than or equal to pod limits of 1']),
    ({"overhead": {"cpu": "-1"}}, ['spec.overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0']),
    ({"hostUsers": False, "hostNetwork": True, "hostPID": True, "hostIPC": True}, [f"spec.{field}: Forbidden: when `pod.Spec.HostUsers` is false" for field in ("hostNetwork", "HostPID", "HostIPC")]),
    ({"containers": [{**C, "securityContext": {"procMount": "Unmasked"}}]}, [f'{CONTAINER}.securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`']),
    ({"hostUsers": False, "containers": [{**C, "securityContext": {"procMount": "Unmasked"}}]}, []),
    ({"securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": " x"}}}, ['spec.securityContext.appArmorProfile.localhostProfile: Invalid value: " x": must not be padded with whitespace']),
    ({"securityContext": {"seccompProfile": {"type": "x"}}}, ['spec.securityContext.seccompProfile.type: Unsupported value: "x": supported values: "Localhost", "RuntimeDefault", "Unconfined"']),
    ({"os": {"name": "windows"}, "hostPID": True, "securityContext": {"fsGroup": 1}}, ["spec.hostPID: Forbidden: cannot be set for a windows pod", "spec.securityContext.fsGroup: Forbidden: cannot be set for a windows pod"]),
    ({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}}}, ["spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"]),
    ({"securityContext": {"windowsOptions": {"runAsUserName": "a\\b\\c"}}}, ['spec.securityContext.windowsOptions.runAsUserName: Invalid value: "a\\\\b\\\\c": runAsUserName cannot contain more than one backslash']),
    ({"securityContext": {"windowsOptions": {"hostProcess": True}}}, ["spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers"]),
    (affinity(matchLabelKeys=["a"]), [f'{AT_AFFINITY}[0]: Invalid value: "a": exists in both matchLabelKeys and labelSelector']),
    (affinity(matchLabelKeys=["x"], mismatchLabelKeys=["x"]), [f'{AT_AFFINITY}.matchLabelKeys[0]: Invalid value: "x": exists in both matchLabelKeys and mismatchLabelKeys']),
    ({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [PREFERRED]}}}, []),
    ({"topologySpreadConstraints": [{**SPREAD, "matchLabelKeys": ["a"]}]}, ['spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and labelSelector']),
    ({"topologySpreadConstraints": [SPREAD, SPREAD]}, ['spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "{zone, DoNotSchedule}"']),
    ({"dnsConfig": {"searches": ["_tcp.example.com", "."]}}, []),
    ({"hostnameOverride": "a.b", "hostNetwork": True}, ["spec.hostNetwork: Forbidden: when `hostnameOverride` is set"]),
    ({"initContainers": [{**C, "name": "a", "ports": [{"containerPort": 1, "hostPort": 1}]}, {**C, "name": "b", "ports": [{"containerPort": 1, "hostPort": 1}]}]}, []),
    ({"serviceAccountName": "", "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}, ["spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set"]),
    ({"nodeName": "n", "schedulingGates": [{"name": "g"}]}, ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"]),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "said"), SPECS)
def test_a_pod_is_judged_as_upstream_judges_it(spec: dict[str, Any], said: list[str]) -> None:
    assert wrong(**spec) == said


ANNOTATIONS = "metadata.annotations"


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"kubernetes.io/config.mirror": "x"}, [f'{ANNOTATIONS}[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set']),
        ({"controller.kubernetes.io/pod-deletion-cost": "+5"}, [f'{ANNOTATIONS}[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+5": must be a 32bit integer']),
        ({"controller.kubernetes.io/pod-deletion-cost": "-5"}, []),
        ({"seccomp.security.alpha.kubernetes.io/pod": "x"}, [f'{ANNOTATIONS}.seccomp.security.alpha.kubernetes.io/pod: Invalid value: "x": must be a valid seccomp profile']),
        ({"container.apparmor.security.beta.kubernetes.io/x": "unconfined"}, [f'{ANNOTATIONS}[container.apparmor.security.beta.kubernetes.io/x]: Invalid value: "x": container not found']),
        ({"scheduler.alpha.kubernetes.io/tolerations": '[{"operator": "x", "key": "k"}]'}, [f'{ANNOTATIONS}.scheduler.alpha.kubernetes.io/tolerations[0].operator: Unsupported value: "x": supported values: "Equal", "Exists"']),
    ],
)  # fmt: skip
def test_annotations_that_mean_something_are_judged(annotations: dict[str, str], said: list[str]) -> None:
    assert wrong(annotations) == said


def test_an_annotation_and_a_field_must_name_the_same_profile() -> None:
    said = wrong(
        {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"},
        containers=[{**C, "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}],
    )
    here = f"{CONTAINER}.securityContext.appArmorProfile.type"
    assert said == [f"{here}: Forbidden: apparmor type in annotation and field must match"]


def test_who_a_mirror_belongs_to_is_settled() -> None:
    old = pod({"kubernetes.io/config.mirror": "x"}, nodeName="n")
    said = [str(error) for error in PODS.validate_update(pod(nodeName="n"), old)]  # type: ignore[misc]
    assert said == [
        f"{ANNOTATIONS}[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation"
    ]


def test_a_template_has_no_requests_from_limits_and_says_where_its_metadata_is_wrong() -> None:
    resources = {"limits": {"cpu": "1"}}
    template = {"metadata": {"labels": {"a b": "c"}}, "spec": {"containers": [{**C, "resources": resources}]}}
    made = POD_TEMPLATES.default(from_builtins(PodTemplate, {"metadata": {"name": "t"}, "template": template}))
    assert made.template.spec.containers[0].resources.requests is None
    said = [str(error) for error in POD_TEMPLATES.validate(made)]
    assert said[0].startswith('template.labels: Invalid value: "a b": name part must consist of')
    assert pod(containers=[{**C, "resources": resources}]).spec.containers[0].resources.requests == {"cpu": "1"}  # type: ignore[union-attr]


# --- changes ----------------------------------------------------------------------------------------------------------


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    wanted = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": wanted}}


ONE = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
TWO = {"matchExpressions": [*ONE["matchExpressions"], {"key": "b", "operator": "Exists"}]}
GATED = {"schedulingGates": [{"name": "g"}]}
TERMS = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (required(ONE), required(TWO), []),
        ({}, required(ONE), []),
        (required(TWO), required(ONE), [f"{TERMS}[0]: Invalid value: {{\"matchExpressions\":[{{\"key\":\"a\",\"operator\":\"Exists\"}}]}}: only additions are allowed (no mutations or deletions)"]),
        ({"nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": "b", "c": "d"}}, []),
        ({"nodeSelector": {"a": "b"}}, {"nodeSelector": {"c": "d"}}, ['spec.nodeSelector: Invalid value: {"c":"d"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)']),
    ],
)  # fmt: skip
def test_where_a_gated_pod_may_run_is_only_narrowed(
    before: dict[str, Any], after: dict[str, Any], said: list[str]
) -> None:
    found = PODS.validate_update(pod(**GATED, **after), pod(**GATED, **before))  # type: ignore[misc]
    assert [str(error) for error in found] == said


def status_said(new: dict[str, Any], old: dict[str, Any], **spec: Any) -> list[str]:
    return [str(e) for e in SUBS["status"].validate(pod(status=new, **spec), pod(status=old, **spec))]


ENDED = {"name": "c", "state": {"terminated": {"exitCode": 1}}}
RUNNING = {"name": "c", "state": {"running": {}}}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"restartPolicy": "Never"}, ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]),
        ({"restartPolicy": "OnFailure"}, []),
        ({"restartPolicy": "Never", "containers": [{**C, "restartPolicy": "Always"}]}, []),
        ({"restartPolicy": "Always", "containers": [{**C, "restartPolicy": "Never"}]}, ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]),
    ],
)  # fmt: skip
def test_what_has_ended_for_good_does_not_run_again(spec: dict[str, Any], said: list[str]) -> None:
    assert status_said({"containerStatuses": [RUNNING]}, {"containerStatuses": [ENDED]}, **spec) == said


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}, ['status.podIPs: Invalid value: [{"ip":"10.0.0.1"},{"ip":"10.0.0.2"}]: may specify no more than one IP for each IP family']),
        ({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}, []),
        ({"hostIPs": [{"ip": "10.0.0.1"}], "hostIP": "10.0.0.2"}, ['status.hostIPs[0].ip: Invalid value: "10.0.0.1": must be equal to `hostIP`']),
        ({"resourceClaimStatuses": [{"name": "x"}]}, ['status.resourceClaimStatuses[0].name: Invalid value: "x": must match the name of an entry in `spec.resourceClaims`']),
        ({"containerStatuses": [{"name": "c", "user": {"linux": {"uid": 2**32, "gid": 0}}}]}, ["status.containerStatuses[0].linux.uid: Invalid value: 4294967296: must be between 0 and 4294967295, inclusive"]),
        ({"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [{"name": "a.io/gpu"}]}]}, ['status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: "a.io/gpu": must match one of the container\'s resource requests']),
    ],
)  # fmt: skip
def test_a_status_says_only_what_can_be(status: dict[str, Any], said: list[str]) -> None:
    assert status_said(status, {}) == said


def resized(before: dict[str, Any], after: dict[str, Any], **spec: Any) -> list[str]:
    old = PODS.on_create(pod(containers=[{**C, "resources": before}], **spec))
    new = SUBS["resize"].write(old, pod(containers=[{**C, "resources": after}], **spec))  # type: ignore[misc]
    return [str(error) for error in SUBS["resize"].validate(new, old)]


def test_a_resize_takes_no_request_back() -> None:
    said = resized({"requests": {"cpu": "1", "memory": "1"}}, {"requests": {"cpu": "2"}})
    assert said == [f"{CONTAINER}.resources.requests: Forbidden: resource requests cannot be removed"]
    assert resized({"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}) == []


def test_a_windows_pod_is_not_resized() -> None:
    said = resized({"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}, os={"name": "windows"})
    assert said == [": Forbidden: windows pods cannot be resized"]
