"""Keys, signed metadata and their verification. A board imports this only inside the verify worker."""
