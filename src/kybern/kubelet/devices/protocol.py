"""The messages that plugins and monitors speak: device plugins (v1beta1), pod resources (v1), plugin registration and
dynamic resource allocation (v1). Imported only by the gateway."""

from functools import cache
from typing import Any

from kybern.api.protobuf.dynamic import message_classes

DEVICE_PLUGIN = """
Empty
DevicePluginOptions       pre_start_required:1:b get_preferred_allocation_available:2:b
RegisterRequest           version:1:s endpoint:2:s resource_name:3:s options:4:DevicePluginOptions
NUMANode                  ID:1:i
TopologyInfo              nodes:1:*NUMANode
Device                    ID:1:s health:2:s topology:3:TopologyInfo
ListAndWatchResponse      devices:1:*Device
ContainerAllocateRequest  devices_ids:1:*s
AllocateRequest           container_requests:1:*ContainerAllocateRequest
Mount                     container_path:1:s host_path:2:s read_only:3:b
DeviceSpec                container_path:1:s host_path:2:s permissions:3:s
CDIDevice                 name:1:s
ContainerAllocateResponse envs:1:m mounts:2:*Mount devices:3:*DeviceSpec annotations:4:m cdi_devices:5:*CDIDevice
AllocateResponse          container_responses:1:*ContainerAllocateResponse
PreStartContainerRequest  devices_ids:1:*s
PreStartContainerResponse
ContainerPreferredAllocationRequest
                          available_deviceIDs:1:*s must_include_deviceIDs:2:*s allocation_size:3:i
PreferredAllocationRequest
                          container_requests:1:*ContainerPreferredAllocationRequest
ContainerPreferredAllocationResponse
                          deviceIDs:1:*s
PreferredAllocationResponse
                          container_responses:1:*ContainerPreferredAllocationResponse
"""
POD_RESOURCES = """
ListPodResourcesRequest
AllocatableResourcesRequest
GetPodResourcesRequest       pod_name:1:s pod_namespace:2:s
NUMANode                     ID:1:i
TopologyInfo                 nodes:1:*NUMANode
CDIDevice                    name:1:s
ClaimResource                CDIDevices:1:*CDIDevice driver_name:2:s pool_name:3:s device_name:4:s
DynamicResource              claim_name:2:s claim_namespace:3:s claim_resources:4:*ClaimResource
ContainerDevices             resource_name:1:s device_ids:2:*s topology:3:TopologyInfo
ContainerMemory              memory_type:1:s size:2:i topology:3:TopologyInfo
ContainerResources           name:1:s devices:2:*ContainerDevices cpu_ids:3:*i memory:4:*ContainerMemory
                             dynamic_resources:5:*DynamicResource
PodResources                 name:1:s namespace:2:s containers:3:*ContainerResources
ListPodResourcesResponse     pod_resources:1:*PodResources
GetPodResourcesResponse      pod_resources:1:PodResources
AllocatableResourcesResponse devices:1:*ContainerDevices cpu_ids:2:*i memory:3:*ContainerMemory
"""


REGISTRATION = """
InfoRequest
PluginInfo                 type:1:s name:2:s endpoint:3:s supported_versions:4:*s
RegistrationStatus         plugin_registered:1:b error:2:s
RegistrationStatusResponse
"""
ALLOCATION = """
Claim                          namespace:1:s uid:2:s name:3:s
NodePrepareResourcesRequest    claims:1:*Claim
Device                         request_names:1:*s pool_name:2:s device_name:3:s cdi_device_ids:4:*s
NodePrepareResourceResponse    devices:1:*Device error:2:s
NodePrepareResourcesResponse   claims:1:%NodePrepareResourceResponse
NodeUnprepareResourcesRequest  claims:1:*Claim
NodeUnprepareResourceResponse  error:1:s
NodeUnprepareResourcesResponse claims:1:%NodeUnprepareResourceResponse
"""

classes = cache(message_classes)


def device_plugin(name: str) -> Any:
    return classes("v1beta1", DEVICE_PLUGIN)[name]


def pod_resources(name: str) -> Any:
    return classes("v1", POD_RESOURCES)[name]


def registration(name: str) -> Any:
    return classes("pluginregistration", REGISTRATION)[name]


def allocation(name: str) -> Any:
    return classes("k8s.io.kubelet.pkg.apis.dra.v1", ALLOCATION)[name]
