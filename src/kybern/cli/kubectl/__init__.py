"""A small kubectl: tables, apply and delete are the server's work, so little is left to do here."""
