"""What CRI's contract refuses, though our own runtime could do something with it: others' kubelets count on the refusal."""

from collections.abc import Iterator

from kybern.runtime.cri import ContainerConfig, Propagation, RuntimeFault


def refuse(config: ContainerConfig) -> None:
    """RuntimeFault Invalid with the first thing that is wrong."""
    for fault in faults(config):
        raise RuntimeFault("Invalid", fault)


def faults(config: ContainerConfig) -> Iterator[str]:
    user = config.security
    if user.run_as_group is not None and user.run_as_user is None and not user.run_as_username:
        yield "a group to run as is given without a user"
    for mount in config.mounts:
        if mount.recursive_read_only and not mount.readonly:
            yield f"mount of {mount.container_path}: recursive_read_only is given without readonly"
        if mount.recursive_read_only and mount.propagation is not Propagation.PRIVATE:
            yield f"mount of {mount.container_path}: recursive_read_only needs private propagation"
