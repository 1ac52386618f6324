"""Why a service or a pod cannot be reached: the way of a packet, step by step, each looked at; the first that fails is the cause.

    name → service → endpoints → rules → route → policy → socket

Reading order: steps (what one is, and who can be asked), way (of a service, then of each pod behind it), endpoints (why there
are none), pods (from one to another).
"""
