"""Processors: what stands between receivers and exporters, one instance a pipeline. One folder a type.

The rule of this package: a type's folder is found by its entry point and knows no other type. Imports nothing here.
"""
