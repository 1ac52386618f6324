"""Who gets which CPUs, memory and devices of the machine, so that they lie near each other.

- `machine`: what the machine has and how it is laid out, as values.
- `hints`: where a container could get one kind of thing, and the policies that join such hints into one place.
- `alignment`: a pod's admission; asks everybody who gives something out, and has them give.
- `cpus`, `picking`, `memory` (and `devices.inventory`): those who give; `given`: what they gave, kept on disk.
- `cpusets`: running containers follow what was given.
"""
