"""The command line's own programs: a small kubectl, and the benchmark. Each command is a file, imported when it is asked for."""
