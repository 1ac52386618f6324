"""Cluster DNS: the Kubernetes DNS specification answered from a View, everything else forwarded.

Reading order: message (bytes to questions and back), records (objects to names), server (sockets), forward.
"""
