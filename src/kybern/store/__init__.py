"""A revisioned key-value log with watch: bytes in, bytes out. It has never heard of a Pod."""
