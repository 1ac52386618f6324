"""The test kit that ships with the product: virtual time, object builders, simulated clusters and their scripts."""
