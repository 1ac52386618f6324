"""Calls from the API server to servers of its users: webhooks for admission, conversion, tokens, authorization, audit.

Such a server is not ours, may be slow, broken or hostile, and its address was written by somebody. So `places` decides where
a call may go at all, and `callouts` makes it: over HTTPS, with an end, a bound for the answer, and nothing of the
client's that asked.
"""
