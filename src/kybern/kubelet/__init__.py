"""The node agent: it makes the runtime match the pods that are bound to this node, and tells the API how they are."""
