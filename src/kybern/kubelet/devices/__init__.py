"""Device plugins: what vendors' programs offer of a node beside CPU and memory, handed out to containers.

- `inventory`: which devices there are, who has which; decisions over values, kept on disk.
- `gateway`: a process of its own that speaks gRPC, since the engine for that must not live where others fork.
- `gate`: the sockets that plugins know, and the gateway behind them, started when the first plugin comes.
"""
