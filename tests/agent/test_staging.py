"""Staged pieces on a real disk: cut off at each write, rotten, foreign, and with no room left."""
