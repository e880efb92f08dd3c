"""Keys, signed metadata and their verification. A board's resident imports `request` only, its worker the rest."""
