"""Kubernetes' protobuf encoding of objects, which typed Go clients speak, to and from the JSON values that others speak.

`messages.txt` holds the field numbers, written by tools/generate_protobuf.py; `table` reads it when the first such body
comes or is asked for; `decode` and `encode` follow it.
"""

from kybern.api.protobuf.decode import decode
from kybern.api.protobuf.encode import encode

__all__ = ["decode", "encode"]
