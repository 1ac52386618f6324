"""The vocabulary: the types of Kubernetes and pure functions on them. No I/O."""
