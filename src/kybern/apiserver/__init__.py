"""The generic machine that serves any Resource: understand → authenticate → limit → authorize → admit → registry → store."""
