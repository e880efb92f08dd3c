"""`resource`: sets, replaces and removes attributes of resources."""
