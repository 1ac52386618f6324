"""The Pod Security Standards: what pods of a namespace may ask of the machine, by level and version."""
