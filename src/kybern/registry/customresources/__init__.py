"""Custom resources: from a CustomResourceDefinition to a `Resource`, by rules alone.

Read `definition` (the rules for definitions themselves), `structural`, `openapi` and `defaults` (for the schemas in
them), then `resource`, which makes of one version of a definition what the API server serves. What a schema asks of
objects is compiled once, to closures: `values`, `defaulting`, `places`.
"""
