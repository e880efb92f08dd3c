"""`agent`: what the board's agent tells of itself: the trace of its part in each rollout, and what its link carries."""
