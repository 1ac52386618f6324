"""Pod specs: their defaults, what is wrong with one, what may change. Shared by pods and everything with a template."""
