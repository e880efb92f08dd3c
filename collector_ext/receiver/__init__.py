"""Receivers, a folder each. Imports nothing."""
