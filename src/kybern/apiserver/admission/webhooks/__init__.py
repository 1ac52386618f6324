"""Admission webhooks: servers of the cluster's users that may change what is written, or refuse it.

`source` keeps the configurations, ready to be asked; `review` is what goes out and comes back; `mutating` asks one after
the other, `validating` all at once.
"""
