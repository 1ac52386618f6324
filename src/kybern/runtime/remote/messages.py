"""The messages of CRI v1, for Linux: RuntimeService and ImageService as upstream numbers their fields."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from kybern.api.protobuf.dynamic import message_classes

PACKAGE = "runtime.v1"
RUNTIME, IMAGES = f"/{PACKAGE}.RuntimeService/", f"/{PACKAGE}.ImageService/"

VALUES = """
Int64Value    value:1:i
UInt64Value   value:1:i
KeyValue      key:1:s value:2:s
"""
SANDBOXES = """
DNSConfig                    servers:1:*s searches:2:*s options:3:*s
PortMapping                  protocol:1:i container_port:2:i host_port:3:i host_ip:4:s
IDMapping                    host_id:1:i container_id:2:i length:3:i
UserNamespace                mode:1:i uids:2:*IDMapping gids:3:*IDMapping
NamespaceOption              network:1:i pid:2:i ipc:3:i target_id:4:s userns_options:5:UserNamespace
SecurityProfile              profile_type:1:i localhost_ref:2:s
LinuxSandboxSecurityContext  namespace_options:1:NamespaceOption run_as_user:3:Int64Value readonly_rootfs:4:b
                             supplemental_groups:5:*i privileged:6:b run_as_group:8:Int64Value
                             seccomp:9:SecurityProfile apparmor:10:SecurityProfile supplemental_groups_policy:11:i
HugepageLimit                page_size:1:s limit:2:i
LinuxContainerResources      cpu_period:1:i cpu_quota:2:i cpu_shares:3:i memory_limit_in_bytes:4:i oom_score_adj:5:i
                             cpuset_cpus:6:s cpuset_mems:7:s hugepage_limits:8:*HugepageLimit unified:9:m
                             memory_swap_limit_in_bytes:10:i
LinuxPodSandboxConfig        cgroup_parent:1:s security_context:2:LinuxSandboxSecurityContext sysctls:3:m
                             overhead:4:LinuxContainerResources resources:5:LinuxContainerResources
PodSandboxMetadata           name:1:s uid:2:s namespace:3:s attempt:4:i
PodSandboxConfig             metadata:1:PodSandboxMetadata hostname:2:s log_directory:3:s dns_config:4:DNSConfig
                             port_mappings:5:*PortMapping labels:6:m annotations:7:m linux:8:LinuxPodSandboxConfig
PodIP                        ip:1:s
PodSandboxNetworkStatus      ip:1:s additional_ips:2:*PodIP
Namespace                    options:2:NamespaceOption
LinuxPodSandboxStatus        namespaces:1:Namespace
PodSandboxStatus             id:1:s metadata:2:PodSandboxMetadata state:3:i created_at:4:i
                             network:5:PodSandboxNetworkStatus linux:6:LinuxPodSandboxStatus labels:7:m annotations:8:m
                             runtime_handler:9:s
PodSandboxStateValue         state:1:i
PodSandboxFilter             id:1:s state:2:PodSandboxStateValue label_selector:3:m
PodSandbox                   id:1:s metadata:2:PodSandboxMetadata state:3:i created_at:4:i labels:5:m annotations:6:m
                             runtime_handler:7:s
"""
CONTAINERS = """
ImageSpec                      image:1:s annotations:2:m user_specified_image:18:s runtime_handler:19:s image_ref:20:s
Mount                          container_path:1:s host_path:2:s readonly:3:b selinux_relabel:4:b propagation:5:i
                               uidMappings:6:*IDMapping gidMappings:7:*IDMapping recursive_read_only:8:b
                               image:9:ImageSpec image_sub_path:10:s
Capability                     add_capabilities:1:*s drop_capabilities:2:*s add_ambient_capabilities:3:*s
LinuxContainerSecurityContext  capabilities:1:Capability privileged:2:b namespace_options:3:NamespaceOption
                               run_as_user:5:Int64Value run_as_username:6:s readonly_rootfs:7:b
                               supplemental_groups:8:*i apparmor_profile:9:s seccomp_profile_path:10:s
                               no_new_privs:11:b run_as_group:12:Int64Value
                               masked_paths:13:*s readonly_paths:14:*s seccomp:15:SecurityProfile
                               apparmor:16:SecurityProfile supplemental_groups_policy:17:i
LinuxContainerConfig           resources:1:LinuxContainerResources security_context:2:LinuxContainerSecurityContext
LinuxContainerUser             uid:1:i gid:2:i supplemental_groups:3:*i
ContainerUser                  linux:1:LinuxContainerUser
ContainerMetadata              name:1:s attempt:2:i
Device                         container_path:1:s host_path:2:s permissions:3:s
CDIDevice                      name:1:s
ContainerConfig                metadata:1:ContainerMetadata image:2:ImageSpec command:3:*s args:4:*s working_dir:5:s
                               envs:6:*KeyValue mounts:7:*Mount devices:8:*Device labels:9:m annotations:10:m
                               log_path:11:s stdin:12:b stdin_once:13:b tty:14:b linux:15:LinuxContainerConfig
                               CDI_devices:17:*CDIDevice stop_signal:18:i
ContainerResources             linux:1:LinuxContainerResources
ContainerStateValue            state:1:i
ContainerFilter                id:1:s state:2:ContainerStateValue pod_sandbox_id:3:s label_selector:4:m
Container                      id:1:s pod_sandbox_id:2:s metadata:3:ContainerMetadata image:4:ImageSpec image_ref:5:s
                               state:6:i created_at:7:i labels:8:m annotations:9:m image_id:10:s
ContainerStatus                id:1:s metadata:2:ContainerMetadata state:3:i created_at:4:i started_at:5:i
                               finished_at:6:i exit_code:7:i image:8:ImageSpec image_ref:9:s reason:10:s message:11:s
                               labels:12:m annotations:13:m mounts:14:*Mount log_path:15:s
                               resources:16:ContainerResources image_id:17:s user:18:ContainerUser stop_signal:19:i
"""
STATS = """
FilesystemIdentifier  mountpoint:1:s
FilesystemUsage       timestamp:1:i fs_id:2:FilesystemIdentifier used_bytes:3:UInt64Value inodes_used:4:UInt64Value
ContainerAttributes   id:1:s metadata:2:ContainerMetadata labels:3:m annotations:4:m
CpuUsage              timestamp:1:i usage_core_nano_seconds:2:UInt64Value usage_nano_cores:3:UInt64Value
MemoryUsage           timestamp:1:i working_set_bytes:2:UInt64Value available_bytes:3:UInt64Value
                      usage_bytes:4:UInt64Value rss_bytes:5:UInt64Value page_faults:6:UInt64Value
                      major_page_faults:7:UInt64Value
ProcessUsage          timestamp:1:i process_count:2:UInt64Value
ContainerStats        attributes:1:ContainerAttributes cpu:2:CpuUsage memory:3:MemoryUsage
                      writable_layer:4:FilesystemUsage
ContainerStatsFilter  id:1:s pod_sandbox_id:2:s label_selector:3:m
PodSandboxStatsFilter id:1:s label_selector:2:m
PodSandboxAttributes  id:1:s metadata:2:PodSandboxMetadata labels:3:m annotations:4:m
LinuxPodSandboxStats  cpu:1:CpuUsage memory:2:MemoryUsage process:4:ProcessUsage containers:5:*ContainerStats
PodSandboxStats       attributes:1:PodSandboxAttributes linux:2:LinuxPodSandboxStats
"""
CALLS = """
VersionRequest                    version:1:s
VersionResponse                   version:1:s runtime_name:2:s runtime_version:3:s runtime_api_version:4:s
RunPodSandboxRequest              config:1:PodSandboxConfig runtime_handler:2:s
RunPodSandboxResponse             pod_sandbox_id:1:s
StopPodSandboxRequest             pod_sandbox_id:1:s
StopPodSandboxResponse
RemovePodSandboxRequest           pod_sandbox_id:1:s
RemovePodSandboxResponse
PodSandboxStatusRequest           pod_sandbox_id:1:s verbose:2:b
PodSandboxStatusResponse          status:1:PodSandboxStatus info:2:m containers_statuses:3:*ContainerStatus timestamp:4:i
ListPodSandboxRequest             filter:1:PodSandboxFilter
ListPodSandboxResponse            items:1:*PodSandbox
StreamPodSandboxesRequest         filter:1:PodSandboxFilter
StreamPodSandboxesResponse        pod_sandboxes:1:*PodSandbox
CreateContainerRequest            pod_sandbox_id:1:s config:2:ContainerConfig sandbox_config:3:PodSandboxConfig
CreateContainerResponse           container_id:1:s
StartContainerRequest             container_id:1:s
StartContainerResponse
StopContainerRequest              container_id:1:s timeout:2:i
StopContainerResponse
RemoveContainerRequest            container_id:1:s
RemoveContainerResponse
ListContainersRequest             filter:1:ContainerFilter
ListContainersResponse            containers:1:*Container
StreamContainersRequest           filter:1:ContainerFilter
StreamContainersResponse          containers:1:*Container
ContainerStatusRequest            container_id:1:s verbose:2:b
ContainerStatusResponse           status:1:ContainerStatus info:2:m
UpdateContainerResourcesRequest   container_id:1:s linux:2:LinuxContainerResources annotations:4:m
UpdateContainerResourcesResponse
UpdatePodSandboxResourcesRequest  pod_sandbox_id:1:s overhead:2:LinuxContainerResources
                                  resources:3:LinuxContainerResources
UpdatePodSandboxResourcesResponse
ReopenContainerLogRequest         container_id:1:s
ReopenContainerLogResponse
ExecSyncRequest                   container_id:1:s cmd:2:*s timeout:3:i
ExecSyncResponse                  stdout:1:y stderr:2:y exit_code:3:i
ExecRequest                       container_id:1:s cmd:2:*s tty:3:b stdin:4:b stdout:5:b stderr:6:b
ExecResponse                      url:1:s
AttachRequest                     container_id:1:s stdin:2:b tty:3:b stdout:4:b stderr:5:b
AttachResponse                    url:1:s
PortForwardRequest                pod_sandbox_id:1:s port:2:*i
PortForwardResponse               url:1:s
ContainerStatsRequest             container_id:1:s
ContainerStatsResponse            stats:1:ContainerStats
ListContainerStatsRequest         filter:1:ContainerStatsFilter
ListContainerStatsResponse        stats:1:*ContainerStats
StreamContainerStatsRequest       filter:1:ContainerStatsFilter
StreamContainerStatsResponse      container_stats:1:*ContainerStats
PodSandboxStatsRequest            pod_sandbox_id:1:s
PodSandboxStatsResponse           stats:1:PodSandboxStats
ListPodSandboxStatsRequest        filter:1:PodSandboxStatsFilter
ListPodSandboxStatsResponse       stats:1:*PodSandboxStats
StreamPodSandboxStatsRequest      filter:1:PodSandboxStatsFilter
StreamPodSandboxStatsResponse     pod_sandbox_stats:1:*PodSandboxStats
NetworkConfig                     pod_cidr:1:s
RuntimeConfig                     network_config:1:NetworkConfig
UpdateRuntimeConfigRequest        runtime_config:1:RuntimeConfig
UpdateRuntimeConfigResponse
RuntimeCondition                  type:1:s status:2:b reason:3:s message:4:s
RuntimeStatus                     conditions:1:*RuntimeCondition
RuntimeHandlerFeatures            recursive_read_only_mounts:1:b user_namespaces:2:b
RuntimeHandler                    name:1:s features:2:RuntimeHandlerFeatures
RuntimeFeatures                   supplemental_groups_policy:1:b user_namespaces_host_network:2:b
StatusRequest                     verbose:1:b
StatusResponse                    status:1:RuntimeStatus info:2:m runtime_handlers:3:*RuntimeHandler
                                  features:4:RuntimeFeatures
GetEventsRequest
ContainerEventResponse            container_id:1:s container_event_type:2:i created_at:3:i
                                  pod_sandbox_status:4:PodSandboxStatus containers_statuses:5:*ContainerStatus
RuntimeConfigRequest
LinuxRuntimeConfiguration         cgroup_driver:1:i
RuntimeConfigResponse             linux:1:LinuxRuntimeConfiguration
"""
IMAGE_CALLS = """
Image                 id:1:s repo_tags:2:*s repo_digests:3:*s size:4:i uid:5:Int64Value username:6:s spec:7:ImageSpec
                      pinned:8:b
ImageFilter           image:1:ImageSpec
AuthConfig            username:1:s password:2:s auth:3:s server_address:4:s identity_token:5:s registry_token:6:s
ListImagesRequest     filter:1:ImageFilter
ListImagesResponse    images:1:*Image
StreamImagesRequest   filter:1:ImageFilter
StreamImagesResponse  images:1:*Image
ImageStatusRequest    image:1:ImageSpec verbose:2:b
ImageStatusResponse   image:1:Image info:2:m
PullImageRequest      image:1:ImageSpec auth:2:AuthConfig sandbox_config:3:PodSandboxConfig
PullImageResponse     image_ref:1:s
RemoveImageRequest    image:1:ImageSpec
RemoveImageResponse
ImageFsInfoRequest
ImageFsInfoResponse   image_filesystems:1:*FilesystemUsage container_filesystems:2:*FilesystemUsage
"""
PLAIN_SIGNALS = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP "
    "TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN"
)
SIGNALS = (
    "",
    *(f"SIG{name}" for name in PLAIN_SIGNALS.split()),
    *(f"SIGRTMIN+{number}" for number in range(1, 16)),
    *(f"SIGRTMAX-{number}" for number in range(14, 0, -1)),
    "SIGRTMAX",
)
"""By their number in CRI."""


@cache
def classes() -> Mapping[str, Any]:
    tables = (VALUES, SANDBOXES, CONTAINERS, STATS, CALLS, IMAGE_CALLS)
    return message_classes(PACKAGE, "\n".join(table.strip() for table in tables))


def message(name: str, **fields: Any) -> Any:
    return classes()[name](**fields)
