"""The generic machine that serves any Resource: authenticate → limit → authorize → admit → registry → store."""
