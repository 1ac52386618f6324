"""Sandboxes, containers and images behind one interface shaped like CRI. It does not know what a Pod is."""
