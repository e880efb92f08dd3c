"""Trusted time: never backwards, whatever the system clock says."""
