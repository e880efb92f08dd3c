"""`filter`: lets through what is included and not excluded, by name, and logs by severity."""
