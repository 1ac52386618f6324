"""Typed client, reflector, View, leases, events, kubeconfig. Transports: HTTPS and in memory."""
