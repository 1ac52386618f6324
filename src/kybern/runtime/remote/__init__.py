"""CRI v1 between processes: a runtime of somebody else's driven as ours are, and ours served to others.

An agent never speaks gRPC itself, since grpcio may not live in a process that forks (decision 0007): `gateway` does, and
moves bytes. `values` turns the messages of `messages` into the values of `runtime.cri` and back, for both directions.
"""
