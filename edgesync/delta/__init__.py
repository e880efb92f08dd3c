"""Deltas between firmware images: `format` is pure, `make` runs on the server, `apply` in a board's worker."""
