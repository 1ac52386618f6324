"""The roles of the controllers, one each, bound to the service account of that name in kube-system.

Written as in `bootstrap.roles`; each name stands for `system:controller:NAME`.
"""

CONTROLLER_ROLES = """
attachdetach-controller
  core persistentvolumeclaims persistentvolumes pods: list watch
  core nodes: READ
  core nodes/status: patch update
  EVENTS
  storage.k8s.io volumeattachments: create delete READ
  storage.k8s.io csidrivers csinodes: READ

certificate-controller
  certificates.k8s.io certificatesigningrequests: delete READ
  certificates.k8s.io certificatesigningrequests/approval certificatesigningrequests/status: update
  certificates.k8s.io signers[kubernetes.io/kube-apiserver-client-kubelet]: approve sign
  certificates.k8s.io signers[kubernetes.io/kube-apiserver-client]: sign
  certificates.k8s.io signers[kybern.io/node-network-client]: approve sign
  certificates.k8s.io signers[kubernetes.io/kubelet-serving]: sign
  certificates.k8s.io signers[kubernetes.io/legacy-unknown]: sign
  authorization.k8s.io subjectaccessreviews: create
  EVENTS

kubelet-serving-approver
  certificates.k8s.io certificatesigningrequests/approval: update
  certificates.k8s.io signers[kubernetes.io/kubelet-serving]: approve

clusterrole-aggregation-controller
  rbac.authorization.k8s.io clusterroles: escalate READ patch update

cronjob-controller
  batch cronjobs: READ update
  batch jobs: create delete READ patch update
  batch cronjobs/status cronjobs/finalizers: update
  core pods: delete list watch
  EVENTS

daemon-set-controller
  apps,extensions daemonsets: READ
  apps,extensions daemonsets/status daemonsets/finalizers: update
  core nodes: list watch
  core pods: create delete list patch watch
  core pods/binding: create
  apps controllerrevisions: create delete READ patch update
  EVENTS

deployment-controller
  apps,extensions deployments: READ update
  apps,extensions deployments/status deployments/finalizers: update
  apps,extensions replicasets: create delete READ patch update
  core pods: READ update
  EVENTS

device-taint-eviction-controller
  core pods: delete READ
  core pods/status: patch update
  resource.k8s.io resourceclaims resourceslices deviceclasses devicetaintrules: READ
  resource.k8s.io devicetaintrules/status: patch update
  EVENTS

disruption-controller
  apps,extensions deployments replicasets: READ
  core replicationcontrollers: READ
  policy poddisruptionbudgets: READ
  apps statefulsets: READ
  policy poddisruptionbudgets/status: update
  core pods/status: patch update
  * */scale: get
  EVENTS

endpoint-controller
  core pods services: READ
  core endpoints: create delete READ update
  core endpoints/restricted: create
  EVENTS

endpointslice-controller
  core nodes pods services: READ
  core services/finalizers: update
  discovery.k8s.io endpointslices: create delete READ update
  EVENTS

endpointslicemirroring-controller
  core endpoints services: READ
  core services/finalizers endpoints/finalizers: update
  discovery.k8s.io endpointslices: create delete READ update
  EVENTS

ephemeral-volume-controller
  core pods: READ
  core pods/finalizers: update
  core persistentvolumeclaims: create READ
  EVENTS

expand-controller
  core persistentvolumes: READ patch update
  core persistentvolumeclaims/status: patch update
  core persistentvolumeclaims: READ
  EVENTS

generic-garbage-collector
  * *: delete READ patch update
  EVENTS

horizontal-pod-autoscaler
  autoscaling horizontalpodautoscalers: READ
  autoscaling horizontalpodautoscalers/status: update
  * */scale: get update
  core,metrics.k8s.io pods: list watch
  custom.metrics.k8s.io,external.metrics.k8s.io *: READ
  EVENTS

job-controller
  batch jobs: READ patch update
  batch jobs/status jobs/finalizers: update
  core pods: create delete list patch watch
  EVENTS

legacy-service-account-token-cleaner
  core configmaps[kube-apiserver-legacy-service-account-token-tracking]: get
  core secrets: delete patch

kube-apiserver-serving-clustertrustbundle-publisher
  certificates.k8s.io signers[kubernetes.io/kube-apiserver-serving]: attest
  certificates.k8s.io clustertrustbundles: create delete list update watch
  EVENTS

namespace-controller
  core namespaces: delete READ
  core namespaces/finalize namespaces/status: update
  * *: delete deletecollection READ

node-controller
  core nodes: delete READ patch update
  core nodes/status pods/status: patch update
  core pods: delete READ
  coordination.k8s.io leases: get
  EVENTS

persistent-volume-binder
  core persistentvolumes: create delete READ update
  core persistentvolumes/status persistentvolumeclaims/status: update
  core persistentvolumeclaims: READ update
  core pods: create delete READ
  storage.k8s.io storageclasses: READ
  core nodes: list watch
  EVENTS
  core events: watch

pod-garbage-collector
  core pods: delete list watch
  core nodes: READ
  core pods/status: patch

podcertificaterequestcleaner
  certificates.k8s.io podcertificaterequests: delete READ

pv-protection-controller
  core persistentvolumes: READ update
  EVENTS

volumeattributesclass-protection-controller
  core persistentvolumes persistentvolumeclaims: READ
  storage.k8s.io volumeattributesclasses: READ update
  EVENTS

pvc-protection-controller
  core persistentvolumeclaims: READ update
  core persistentvolumeclaims/status: update
  core pods: READ
  EVENTS

replicaset-controller
  apps,extensions replicasets: READ update
  apps,extensions replicasets/status replicasets/finalizers: update
  core pods: create delete list patch watch
  EVENTS

replication-controller
  core replicationcontrollers: READ update
  core replicationcontrollers/status replicationcontrollers/finalizers: update
  core pods: create delete list patch watch
  EVENTS

resource-claim-controller
  core pods: READ
  core pods/finalizers: update
  resource.k8s.io resourceclaims: create delete READ patch update
  resource.k8s.io resourceclaims/status resourceclaims/binding: patch update
  core pods/status: patch update
  EVENTS

resourcequota-controller
  * *: list watch
  core resourcequotas/status: update
  EVENTS

root-ca-cert-publisher
  core configmaps: create update
  EVENTS

route-controller
  core nodes: list watch
  core nodes/status: patch
  EVENTS

selinux-warning-controller
  EVENTS
  core persistentvolumes persistentvolumeclaims pods: READ
  storage.k8s.io csidrivers: READ

service-account-controller
  core serviceaccounts: create
  EVENTS

serviceaccount-token-controller
  core secrets: delete READ update
  core serviceaccounts: READ update
  EVENTS

service-cidrs-controller
  networking.k8s.io servicecidrs: READ patch update
  networking.k8s.io servicecidrs/finalizers servicecidrs/status: patch update
  networking.k8s.io ipaddresses: READ
  EVENTS

service-controller
  core services: READ
  core services/status: patch update
  core nodes: list watch
  EVENTS

statefulset-controller
  core pods: list watch create delete get patch update
  apps statefulsets: READ
  apps statefulsets/status statefulsets/finalizers: update
  apps controllerrevisions: create delete READ patch update
  core persistentvolumeclaims: create READ delete update
  core pods/finalizers: update
  EVENTS

storage-version-migrator-controller
  storagemigration.k8s.io storageversionmigrations: READ
  storagemigration.k8s.io storageversionmigrations/status: get patch update
  * *: list patch
  EVENTS

ttl-after-finished-controller
  batch jobs: delete READ
  EVENTS

ttl-controller
  core nodes: list patch update watch
  EVENTS

validatingadmissionpolicy-status-controller
  admissionregistration.k8s.io validatingadmissionpolicies: READ
  admissionregistration.k8s.io validatingadmissionpolicies/status: get patch update
  EVENTS

volumeattributesclass-protection-controller
  core persistentvolumeclaims persistentvolumes: READ
  storage.k8s.io volumeattributesclasses: READ update
  EVENTS
"""
