"""The warden: one small process per node that starts containers, holds their streams and learns how they end.

It imports the standard library and `kybern.linux` only, and has one thread, since forking and entering namespaces
allow no second. It is told what to do over a unix socket by whoever is the node's agent at that time; containers
run on without either.

Reading order: `setup` (what happens between fork and exec, as a table), `filesystem` and `identity` (its steps),
`process` (the parent's side of it), `streams` and `logs`, `service` (the operations), `fdstore` (how streams survive
the warden).
"""
