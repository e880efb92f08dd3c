"""Bytes by month and rollout, over kills, restarts and clocks that jump."""
