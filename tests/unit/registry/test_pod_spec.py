from typing import Any

import pytest

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod
from kybern.registry.pods import PODS

C = {"name": "c", "image": "i:1"}


def wrong(**spec: Any) -> list[str]:
    spec = {"containers": [C], "serviceAccountName": "default", **spec}
    pod = PODS.default(from_builtins(Pod, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}))
    return [str(error) for error in PODS.validate(pod)]


def container(**fields: Any) -> list[str]:
    return wrong(containers=[{**C, **fields}], volumes=[{"name": "v"}])


def volume(**fields: Any) -> list[str]:
    return wrong(volumes=[{"name": "v", **fields}])


CONTAINER = "spec.containers[0]"
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, f"{CONTAINER}.name: Required value"),
        ({"name": "C"}, f'{CONTAINER}.name: Invalid value: "C": {LABEL}'),
        ({"image": ""}, f"{CONTAINER}.image: Required value"),
        ({"image": " i"}, f'{CONTAINER}.image: Invalid value: " i": must not have leading or trailing whitespace'),
        (
            {"imagePullPolicy": "Now"},
            f'{CONTAINER}.imagePullPolicy: Unsupported value: "Now": supported values: "Always", "IfNotPresent", "Never"',
        ),
        (
            {"terminationMessagePolicy": "No"},
            f'{CONTAINER}.terminationMessagePolicy: Unsupported value: "No": '
            'supported values: "File", "FallbackToLogsOnError"',
        ),
        ({"ports": [{"containerPort": 0}]}, f"{CONTAINER}.ports[0].containerPort: Required value"),
        (
            {"ports": [{"containerPort": 65536}]},
            f"{CONTAINER}.ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive",
        ),
        (
            {"ports": [{"containerPort": 1, "protocol": "ICMP"}]},
            f'{CONTAINER}.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
        ),
        (
            {"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]},
            f'{CONTAINER}.ports[1].name: Duplicate value: "a"',
        ),
        (
            {"ports": [{"containerPort": 1, "name": "1"}]},
            f'{CONTAINER}.ports[0].name: Invalid value: "1": must contain at least one letter (a-z)',
        ),
        (
            {"ports": [{"containerPort": 1, "hostPort": 1}, {"containerPort": 2, "hostPort": 1}]},
            f'{CONTAINER}.ports[1].hostPort: Duplicate value: "TCP//1"',
        ),
        ({"ports": [{"containerPort": 1, "hostIP": "x"}]}, f'{CONTAINER}.ports[0].hostIP: Invalid value: "x": {IP}'),
        ({"env": [{"name": ""}]}, f"{CONTAINER}.env[0].name: Required value"),
        (
            {"env": [{"name": "a=b"}]},
            f'{CONTAINER}.env[0].name: Invalid value: "a=b": a valid environment variable name must consist only of '
            "printable ASCII characters other than '='",
        ),
        (
            {"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
            f'{CONTAINER}.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
        ),
        (
            {"env": [{"name": "A", "valueFrom": {}}]},
            f'{CONTAINER}.env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, '
            "`configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]},
            f'{CONTAINER}.env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: '
            '"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", '
            '"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"',
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.what"}}}]},
            f'{CONTAINER}.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.what": '
            "error converting fieldPath: field label not supported: spec.what",
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "", "key": "k"}}}]},
            f'{CONTAINER}.env[0].valueFrom.configMapKeyRef.name: Invalid value: "": {SUBDOMAIN}',
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}}]},
            f'{CONTAINER}.env[0].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.gpu": supported values: '
            '"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", '
            '"requests.memory"',
        ),
        (
            {"envFrom": [{}]},
            f'{CONTAINER}.envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`',
        ),
        ({"envFrom": [{"configMapRef": {}}]}, f"{CONTAINER}.envFrom[0].configMapRef.name: Required value"),
        (
            {"volumeMounts": [{"name": "x", "mountPath": "/x"}]},
            f'{CONTAINER}.volumeMounts[0].name: Not found: "x"',
        ),
        ({"volumeMounts": [{"name": "v", "mountPath": ""}]}, f"{CONTAINER}.volumeMounts[0].mountPath: Required value"),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x"}]},
            f'{CONTAINER}.volumeMounts[1].mountPath: Invalid value: "/x": must be unique',
        ),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/x", "subPath": "/abs"}]},
            f'{CONTAINER}.volumeMounts.subPath: Invalid value: "/abs": must be a relative path',
        ),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/x", "subPath": "a/../b"}]},
            f"{CONTAINER}.volumeMounts.subPath: Invalid value: \"a/../b\": must not contain '..'",
        ),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/x", "mountPropagation": "Bidirectional"}]},
            f"{CONTAINER}.volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only "
            "to privileged containers",
        ),
        (
            {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
            f'{CONTAINER}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            {"resources": {"requests": {"cpu": "-1"}}},
            f'{CONTAINER}.resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0',
        ),
        (
            {"resources": {"requests": {"a.io/gpu": "1"}}},
            f"{CONTAINER}.resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (
            {"resources": {"requests": {"a.io/gpu": "1"}, "limits": {"a.io/gpu": "2"}}},
            f'{CONTAINER}.resources.requests: Invalid value: "1": must be equal to a.io/gpu limit of 2',
        ),
        (
            {"resources": {"requests": {"hugepages-2Mi": "2Mi"}, "limits": {"hugepages-2Mi": "2Mi"}}},
            f"{CONTAINER}.resources: Forbidden: HugePages require cpu or memory",
        ),
        ({"livenessProbe": {}}, f"{CONTAINER}.livenessProbe: Required value: must specify a handler type"),
        (
            {"livenessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}},
            f"{CONTAINER}.livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        (
            {"livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}},
            f"{CONTAINER}.livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            {"readinessProbe": {"httpGet": {"port": "HTTP"}}},
            f'{CONTAINER}.readinessProbe.httpGet.port: Invalid value: "HTTP": '
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (
            {"readinessProbe": {"httpGet": {"port": 80, "scheme": "FTP"}}},
            f'{CONTAINER}.readinessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"',
        ),
        (
            {"readinessProbe": {"exec": {"command": ["x"]}, "initialDelaySeconds": -1}},
            f"{CONTAINER}.readinessProbe.initialDelaySeconds: Invalid value: -1: must be greater than or equal to 0",
        ),
        ({"startupProbe": {"exec": {}}}, f"{CONTAINER}.startupProbe.exec.command: Required value"),
        (
            {"lifecycle": {"postStart": {}}},
            f"{CONTAINER}.lifecycle.postStart: Required value: must specify a handler type",
        ),
        (
            {"securityContext": {"runAsUser": -1}},
            f"{CONTAINER}.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
        (
            {"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
            f'{CONTAINER}.securityContext: Invalid value: {{"allowPrivilegeEscalation":false,"privileged":true}}: '
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Localhost"}}},
            f"{CONTAINER}.securityContext.seccompProfile.localhostProfile: Required value: "
            "must be set when seccomp type is Localhost",
        ),
    ],
)
def test_a_bad_container_is_refused_in_upstreams_words(fields: dict[str, Any], message: str) -> None:
    found = container(**fields)
    assert message in found
    assert len(found) <= 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "V"}, f'spec.volumes[0].name: Invalid value: "V": {LABEL}'),
        ({"hostPath": {"path": ""}}, "spec.volumes[0].hostPath.path: Required value"),
        (
            {"hostPath": {"path": "/a/../b"}},
            "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
        ),
        (
            {"hostPath": {"path": "/a", "type": "Dir"}},
            'spec.volumes[0].hostPath.type: Unsupported value: "Dir": supported values: "", "BlockDevice", "CharDevice", '
            '"Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"',
        ),
        ({"secret": {}}, "spec.volumes[0].secret.secretName: Required value"),
        (
            {"secret": {"secretName": "s", "defaultMode": 512}},
            "spec.volumes[0].secret.defaultMode: Invalid value: 512: "
            "must be a number between 0 and 0777 (octal), both inclusive",
        ),
        (
            {"configMap": {"name": "c", "items": [{"key": "k", "path": "..x"}]}},
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"..x\": must not start with '..'",
        ),
        (
            {"configMap": {"name": "c", "items": [{"path": "x"}]}},
            "spec.volumes[0].configMap.items[0].key: Required value",
        ),
        (
            {"emptyDir": {}, "secret": {"secretName": "s"}},
            "spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type",
        ),
        (
            {"persistentVolumeClaim": {"claimName": ""}},
            "spec.volumes[0].persistentVolumeClaim.claimName: Required value",
        ),
        (
            {"nfs": {"server": "s", "path": "x"}},
            'spec.volumes[0].nfs.path: Invalid value: "x": must be an absolute path',
        ),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}},
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: "
            "may not specify a duration less than 10 minutes",
        ),
        (
            {"projected": {"sources": [{"secret": {"name": "s"}, "configMap": {"name": "c"}}]}},
            "spec.volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
        ),
        (
            {"downwardAPI": {"items": [{"path": "x"}]}},
            "spec.volumes[0].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
        ),
        ({"csi": {"driver": "a_b"}}, f'spec.volumes[0].csi.driver: Invalid value: "a_b": {SUBDOMAIN}'),
        ({"image": {}}, "spec.volumes[0].image.reference: Required value"),
    ],
)
def test_a_bad_volume_is_refused_in_upstreams_words(fields: dict[str, Any], message: str) -> None:
    assert volume(**fields) == [message]


def test_two_volumes_cannot_share_a_name() -> None:
    assert wrong(volumes=[{"name": "v"}, {"name": "v"}]) == ['spec.volumes[1].name: Duplicate value: "v"']


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"containers": []}, "spec.containers: Required value"),
        ({"containers": [C, C]}, 'spec.containers[1].name: Duplicate value: "c"'),
        (
            {"restartPolicy": "Sometimes"},
            'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
        ),
        (
            {"dnsPolicy": "Mine"},
            'spec.dnsPolicy: Unsupported value: "Mine": supported values: "ClusterFirstWithHostNet", "ClusterFirst", '
            '"Default", "None"',
        ),
        (
            {"dnsPolicy": "None"},
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            {"dnsConfig": {"nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]}},
            'spec.dnsConfig.nameservers: Invalid value: ["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4"]: '
            "must not have more than 3 nameservers",
        ),
        ({"nodeSelector": {"a b": "c"}}, None),
        ({"hostname": "A"}, f'spec.hostname: Invalid value: "A": {LABEL}'),
        ({"hostAliases": [{"ip": "x", "hostnames": ["a"]}]}, f'spec.hostAliases[0].ip: Invalid value: "x": {IP}'),
        (
            {"activeDeadlineSeconds": 0},
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        ({"serviceAccountName": "A"}, None),
        (
            {"tolerations": [{"operator": "Equal", "value": "x"}]},
            'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, '
            'which means "match all values and all keys"',
        ),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 5}]},
            "spec.tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ),
        (
            {"tolerations": [{"key": "a", "effect": "Never"}]},
            'spec.tolerations[0].effect: Unsupported value: "Never": '
            'supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"',
        ),
        (
            {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}},
            f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms: Required value: "
            "must have at least one node selector term",
        ),
        (
            {
                "affinity": {
                    "nodeAffinity": {
                        REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Is"}]}]}
                    }
                }
            },
            f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].operator: "
            'Invalid value: "Is": not a valid selector operator',
        ),
        (
            {"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 101, "preference": {}}]}}},
            f"spec.affinity.nodeAffinity.{PREFERRED}[0].weight: Invalid value: 101: must be in the range 1-100",
        ),
        (
            {"affinity": {"podAntiAffinity": {REQUIRED: [{"topologyKey": ""}]}}},
            f"spec.affinity.podAntiAffinity.{REQUIRED}[0].topologyKey: Required value: can not be empty",
        ),
        (
            {
                "topologySpreadConstraints": [
                    {"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
                ]
            },
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "Maybe"}]},
            'spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Maybe": '
            'supported values: "DoNotSchedule", "ScheduleAnyway"',
        ),
        (
            {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}]}, "hostNetwork": True},
            'spec.securityContext.sysctls[0].name: Invalid value: "net.ipv4.ip_forward": '
            "may not be specified when 'hostNetwork' is true",
        ),
        (
            {"shareProcessNamespace": True, "hostPID": True},
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
        ),
        (
            {"hostNetwork": True, "containers": [{**C, "ports": [{"containerPort": 80, "hostPort": 81}]}]},
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: "
            "must match `containerPort` when `hostNetwork` is true",
        ),
        (
            {"initContainers": [{"name": "c", "image": "i"}]},
            'spec.initContainers[0].name: Duplicate value: "c"',
        ),
        (
            {"initContainers": [{"name": "x", "image": "i", "readinessProbe": {"tcpSocket": {"port": 1}}}]},
            "spec.initContainers[0].readinessProbe: Forbidden: "
            "may not be set for init containers without restartPolicy=Always",
        ),
        (
            {"nodeName": "n1", "schedulingGates": [{"name": "g"}]},
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ),
        ({"os": {"name": "plan9"}}, 'spec.os: Unsupported value: "plan9": supported values: "linux", "windows"'),
        (
            {"ephemeralContainers": [{"name": "d", "image": "i", "ports": [{"containerPort": 1}]}]},
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
        ),
        (
            {"ephemeralContainers": [{"name": "d", "image": "i", "targetContainerName": "x"}]},
            'spec.ephemeralContainers[0].targetContainerName: Not found: "x"',
        ),
    ],
)
def test_a_bad_pod_spec_is_refused_in_upstreams_words(spec: dict[str, Any], message: str | None) -> None:
    found = wrong(**spec)
    assert found
    if message is not None:
        assert message in found


@pytest.mark.parametrize(
    "spec",
    [
        {"initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always", "livenessProbe": {"tcpSocket": {"port": 1}}}]},
        {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["svc.cluster.local", "."]}},
        {"tolerations": [{"operator": "Exists"}]},
        {"affinity": {"podAffinity": {REQUIRED: [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}]}}},
        {"hostNetwork": True, "containers": [{**C, "ports": [{"containerPort": 80}]}]},
        {"containers": [{**C, "resources": {"limits": {"a.io/gpu": "1"}}}]},
        {"containers": [{**C, "env": [{"name": "odd name.1", "value": "x"}]}]},
        {
            "containers": [
                {**C, "env": [{"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}}]}
            ]
        },
        {"volumes": [{"name": "v", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]},
        {"securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}], "fsGroup": 5}},
        {"terminationGracePeriodSeconds": -5},
    ],
)  # fmt: skip
def test_what_upstream_accepts_is_accepted(spec: dict[str, Any]) -> None:
    assert wrong(**spec) == []
