"""Giving back what the node runs short of: first what nobody uses, then pods, in upstream's order.

Reading order: `thresholds` (when), `ranking` (whom), `watch` (the loop).
"""
