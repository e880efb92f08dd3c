"""A real agent that hears what nobody should have said: forged, foreign, stale, oversized and random bytes."""
