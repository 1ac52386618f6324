"""API priority and fairness: whose requests wait for whose, and who is told to come back."""
