"""The onion around every request, one file a layer: each is made with the next one and calls it or does not."""
