"""API objects to rules (pure), rules to the kernel: pod network, service proxy, cluster DNS."""
