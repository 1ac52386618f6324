"""Images: names, registries, blobs by digest, layers unpacked once and shared.

Reading order: reference (names), registry (HTTP), layout (blobs and index on disk), unpack (a layer's archive into a
directory, in a process of its own), snapshots (unpacked layers), pull (all of it together), store (what a runtime asks).
"""
