"""Everything the API server knows about each resource, one file each. Rules only: no I/O, no clock, no chance."""
