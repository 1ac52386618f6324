"""The roles of every cluster: their names and rules, which clients and charts rely on, as a table.

A role is its name, then one rule a line: `GROUPS RESOURCES: VERBS`. `core` is the group without a name; `urls` makes
the rest paths; `[NAME]` after a resource limits the rule to that object. `EVENTS`, `READ` and `WRITE` abbreviate.
"""

AGGREGATED = {"admin": "to-admin", "edit": "to-edit", "view": "to-view"}
"""ClusterRoles that are the sum of all with the label `rbac.authorization.k8s.io/aggregate-` and this."""

AGGREGATE_LABELS = {
    "edit": "to-admin",
    "view": "to-edit",
    "system:aggregate-to-admin": "to-admin",
    "system:aggregate-to-edit": "to-edit",
    "system:aggregate-to-view": "to-view",
}

USER_ROLES = """
cluster-admin
  * *: *
  urls *: *

system:aggregate-to-admin
  authorization.k8s.io localsubjectaccessreviews: create
  rbac.authorization.k8s.io rolebindings roles: READ WRITE

system:aggregate-to-edit
  core pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy: READ
  core serviceaccounts: impersonate
  core pods pods/attach pods/exec pods/portforward pods/proxy: WRITE
  core pods/eviction: create
  core configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale: WRITE
  core secrets serviceaccounts services services/proxy: WRITE
  core serviceaccounts/token: create
  apps daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale: WRITE
  apps statefulsets statefulsets/scale: WRITE
  autoscaling horizontalpodautoscalers: WRITE
  batch cronjobs jobs: WRITE
  policy poddisruptionbudgets: WRITE
  networking.k8s.io ingresses networkpolicies: WRITE
  coordination.k8s.io leases: READ WRITE
  resource.k8s.io resourceclaims resourceclaimtemplates: WRITE

system:aggregate-to-view
  core configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods: READ
  core replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status: READ
  core bindings events limitranges namespaces/status pods/log pods/status: READ
  core replicationcontrollers/status resourcequotas resourcequotas/status namespaces: READ
  discovery.k8s.io endpointslices: READ
  apps controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status: READ
  apps replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status: READ
  autoscaling horizontalpodautoscalers horizontalpodautoscalers/status: READ
  batch cronjobs cronjobs/status jobs jobs/status: READ
  policy poddisruptionbudgets poddisruptionbudgets/status: READ
  networking.k8s.io ingresses ingresses/status networkpolicies: READ
  resource.k8s.io resourceclaims resourceclaimtemplates resourceclaims/status: READ

system:discovery
  urls /api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/: get

system:public-info-viewer
  urls /healthz /livez /readyz /version /version/: get

system:monitoring
  urls /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*: get

system:basic-user
  authorization.k8s.io selfsubjectaccessreviews selfsubjectrulesreviews: create
  authentication.k8s.io selfsubjectreviews: create

system:service-account-issuer-discovery
  urls /.well-known/openid-configuration /openid/v1/jwks: get

system:auth-delegator
  authentication.k8s.io tokenreviews: create
  authorization.k8s.io subjectaccessreviews: create
"""

COMPONENT_ROLES = """
system:node
  authentication.k8s.io tokenreviews: create
  authorization.k8s.io localsubjectaccessreviews subjectaccessreviews: create
  core services: READ
  core nodes: create READ
  core nodes/status nodes: patch update
  core events: create patch update
  events.k8s.io events: create patch update
  core pods: READ create delete
  core pods/status: patch update
  core pods/eviction: create
  core configmaps secrets: READ
  core persistentvolumeclaims persistentvolumes: get
  core endpoints: get
  certificates.k8s.io certificatesigningrequests: create READ
  certificates.k8s.io clustertrustbundles: READ
  coordination.k8s.io leases: create delete get patch update
  storage.k8s.io volumeattachments: get
  core serviceaccounts/token: create
  core serviceaccounts: get
  certificates.k8s.io podcertificaterequests: create READ
  core persistentvolumeclaims/status: get patch update
  storage.k8s.io csidrivers: READ
  storage.k8s.io csinodes: create delete get patch update
  node.k8s.io runtimeclasses: READ
  resource.k8s.io resourceclaims: get
  resource.k8s.io resourceslices: deletecollection
  resource.k8s.io resourceslices: create delete READ patch update

system:node-proxier
  core endpoints services: list watch
  core nodes: READ
  EVENTS
  discovery.k8s.io endpointslices: list watch
  networking.k8s.io servicecidrs: list watch

kybern:node-network
  core namespaces nodes pods services: list watch
  discovery.k8s.io endpointslices: list watch
  networking.k8s.io networkpolicies: list watch

kybern:node-network-client
  certificates.k8s.io certificatesigningrequests/nodenetworkclient: create

kybern:self-node-network-client
  certificates.k8s.io certificatesigningrequests/selfnodenetworkclient: create

kybern:ingress
  core namespaces secrets services: READ
  gateway.networking.k8s.io gatewayclasses: create READ
  gateway.networking.k8s.io gateways grpcroutes httproutes referencegrants: READ
  gateway.networking.k8s.io gatewayclasses/status gateways/status grpcroutes/status httproutes/status: patch update
  discovery.k8s.io endpointslices: READ
  networking.k8s.io ingresses: READ
  networking.k8s.io ingressclasses: create READ
  networking.k8s.io ingresses/status: patch update
  EVENTS

system:node-bootstrapper
  certificates.k8s.io certificatesigningrequests: create READ

system:node-problem-detector
  core nodes: get
  core nodes/status: patch
  EVENTS

system:kubelet-api-admin
  core nodes: READ proxy
  core nodes/log nodes/metrics nodes/proxy nodes/stats: *

system:kube-dns
  core endpoints services: list watch

system:kube-aggregator
  core endpoints services: READ

system:heapster
  core events namespaces nodes pods: READ
  extensions deployments: READ

kybern:simulated-nodes
  EVENTS
  core nodes: create READ
  core nodes/status: patch update
  core pods: delete READ
  core pods/status: patch update
  coordination.k8s.io leases: create READ update patch

kybern:pausing
  core pods: patch

system:kube-scheduler
  EVENTS
  coordination.k8s.io leases: create
  coordination.k8s.io leases[kube-scheduler]: get update
  core nodes replicationcontrollers services persistentvolumeclaims persistentvolumes namespaces: READ
  core pods: delete READ
  core bindings pods/binding: create
  core pods/status: patch update
  apps,extensions replicasets: READ
  apps statefulsets: READ
  policy poddisruptionbudgets: READ
  authentication.k8s.io tokenreviews: create
  authorization.k8s.io subjectaccessreviews: create
  storage.k8s.io csinodes csidrivers csistoragecapacities volumeattachments: READ
  resource.k8s.io resourceclaims resourceslices deviceclasses devicetaintrules: READ
  resource.k8s.io resourceclaims: create delete update patch
  resource.k8s.io resourceclaims/status: update patch
  core pods/finalizers: update

system:volume-scheduler
  core persistentvolumes persistentvolumeclaims: READ patch update
  storage.k8s.io storageclasses: READ

system:persistent-volume-provisioner
  core persistentvolumes: create delete READ
  core persistentvolumeclaims: READ update
  storage.k8s.io storageclasses: READ
  core events: watch
  EVENTS

system:kube-controller-manager
  EVENTS
  coordination.k8s.io leases: create
  coordination.k8s.io leases[kube-controller-manager]: get update
  core secrets serviceaccounts: create update
  core secrets: delete
  core configmaps namespaces secrets serviceaccounts: get
  authentication.k8s.io tokenreviews: create
  authorization.k8s.io subjectaccessreviews: create
  * *: list watch
  core serviceaccounts/token: create

system:certificates.k8s.io:certificatesigningrequests:nodeclient
  certificates.k8s.io certificatesigningrequests/nodeclient: create

system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
  certificates.k8s.io certificatesigningrequests/selfnodeclient: create

system:certificates.k8s.io:kube-apiserver-client-approver
  certificates.k8s.io signers[kubernetes.io/kube-apiserver-client]: approve

system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
  certificates.k8s.io signers[kubernetes.io/kube-apiserver-client-kubelet]: approve

system:certificates.k8s.io:kubelet-serving-approver
  certificates.k8s.io signers[kubernetes.io/kubelet-serving]: approve

system:certificates.k8s.io:legacy-unknown-approver
  certificates.k8s.io signers[kubernetes.io/legacy-unknown]: approve
"""

NAMESPACED_ROLES = """
kube-public/system:controller:bootstrap-signer
  core configmaps: READ
  core configmaps[cluster-info]: update
  EVENTS

kube-system/extension-apiserver-authentication-reader
  core configmaps[extension-apiserver-authentication]: READ

kube-system/system::leader-locking-kube-controller-manager
  coordination.k8s.io leases leasecandidates: create get list update watch

kube-system/system::leader-locking-kube-scheduler
  coordination.k8s.io leases leasecandidates: create get list update watch

kube-system/kybern:cluster-dns
  core configmaps[kube-dns]: list watch

kube-system/system:controller:bootstrap-signer
  core secrets: READ

kube-system/system:controller:cloud-provider
  core configmaps: create READ

kube-system/system:controller:token-cleaner
  core secrets: delete READ
  EVENTS
"""

NODE_NETWORKS = "kybern:node-networks"
"""The group of what follows the cluster's network on each node, as a CNI plugin's agent does; no kubelet is in it."""

GROUPS_BOUND = {
    "cluster-admin": ("Group system:masters",),
    "system:basic-user": ("Group system:authenticated",),
    "system:discovery": ("Group system:authenticated",),
    "system:public-info-viewer": ("Group system:authenticated", "Group system:unauthenticated"),
    "system:monitoring": ("Group system:monitoring",),
    "system:service-account-issuer-discovery": ("Group system:serviceaccounts",),
    "system:node": (),
    "system:node-proxier": ("User system:kube-proxy",),
    "system:kubelet-api-admin": ("User kube-apiserver-kubelet-client",),  # kubelets that ask: ours know it
    "kybern:node-network": (f"Group {NODE_NETWORKS}",),
    "kybern:ingress": ("User kybern:ingress",),
    "system:kube-dns": ("ServiceAccount kube-system/kube-dns",),
    "system:kube-scheduler": ("User system:kube-scheduler",),
    "system:volume-scheduler": ("User system:kube-scheduler",),
    "kybern:pausing": ("User system:kube-scheduler",),
    "kybern:simulated-nodes": ("User kybern:simulated-nodes",),
    "system:kube-controller-manager": ("User system:kube-controller-manager",),
}
"""ClusterRoleBindings of the role's own name."""

ROLES_BOUND = {
    "kube-public/system:controller:bootstrap-signer": ("ServiceAccount kube-system/bootstrap-signer",),
    "kube-system/kybern:cluster-dns": (f"Group {NODE_NETWORKS}",),
    "kube-system/system:controller:bootstrap-signer": ("ServiceAccount kube-system/bootstrap-signer",),
    "kube-system/system:controller:cloud-provider": ("ServiceAccount kube-system/cloud-provider",),
    "kube-system/system:controller:token-cleaner": ("ServiceAccount kube-system/token-cleaner",),
    "kube-system/system::leader-locking-kube-controller-manager": (
        "User system:kube-controller-manager",
        "ServiceAccount kube-system/kube-controller-manager",
    ),
    "kube-system/system::leader-locking-kube-scheduler": (
        "User system:kube-scheduler",
        "ServiceAccount kube-system/kube-scheduler",
    ),
    "kube-system/system::extension-apiserver-authentication-reader": (
        "User system:kube-controller-manager",
        "User system:kube-scheduler",
    ),
}
"""RoleBindings, by namespace and name; the last one's role has one prefix less."""
