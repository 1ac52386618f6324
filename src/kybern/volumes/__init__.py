"""Volumes: from a pod's `spec.volumes` to directories on this machine that a container can mount."""
