"""A real agent on a link that is cut, stalls and starves: the broker is silent, empty, withdrawn, or never had it."""
