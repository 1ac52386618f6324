"""HTTP without Kubernetes: server, client, upgraded streams, TLS and certificates."""
