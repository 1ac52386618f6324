"""Who asks (authenticators, in a chain) and whether they may (authorizers)."""
