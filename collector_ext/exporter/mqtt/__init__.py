"""`mqtt`: a board's telemetry over the agent's own connection, small, and kept while there is none."""
