"""What is passed through to somewhere else: a pod's log and streams to its kubelet, and proxying to pods, services, nodes."""
