"""Exporters, a folder each. Imports nothing."""
