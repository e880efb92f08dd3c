"""`debug`: says in the log what arrives."""
