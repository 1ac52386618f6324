"""OpenAPI: the description of the API for clients, built from the types when somebody first asks.

Read `definitions` (types to schemas), `operations` (resources to operations), then `v2`, `v3` and `gnostic`, which put
them into the three forms that clients ask for. Nothing of it is touched at start-up.
"""
