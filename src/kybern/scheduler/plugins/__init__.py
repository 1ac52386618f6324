"""The rules of scheduling, one a file. No rule knows another."""
