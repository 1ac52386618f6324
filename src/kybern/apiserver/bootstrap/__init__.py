"""What every cluster has from the start: namespaces, roles and bindings, priority classes, the `kubernetes` Service."""
