"""Messages: round trips, hostile documents, and versions that are not ours."""
