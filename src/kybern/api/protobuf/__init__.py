"""Kubernetes' protobuf encoding of objects, which typed Go clients send, read into the JSON values that others send.

`messages.txt` holds the field numbers, written by tools/generate_protobuf.py; `table` reads it when the first such body
comes, `decode` follows it.
"""

from kybern.api.protobuf.decode import decode

__all__ = ["decode"]
