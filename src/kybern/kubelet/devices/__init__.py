"""Devices: what vendors' programs offer of a node beside CPU and memory, handed out to containers.

- `inventory`: device plugins' devices and who has which; decisions over values, kept on disk.
- `claims`: dynamic resource allocation; what the scheduler allocated is made ready by drivers.
- `gate`: the sockets that plugins know, and the gateway behind them, started when the first plugin comes.
- `gateway`, `drivers`, `protocol`: a process of its own that speaks gRPC, whose engine must not live where others fork.
"""
