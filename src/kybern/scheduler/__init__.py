"""The scheduler: which node a pod runs on. Nodes as columns, rules as values, decisions from memory."""
