"""The codec: round trips, limits and bombs."""
