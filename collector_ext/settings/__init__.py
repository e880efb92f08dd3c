"""Configuration as the Collector reads it: YAML files, `${...}`, merging, and strict binding to frozen dataclasses.

The rule of this package: YAML is parsed in a short-lived worker (PyYAML costs 4.4 MiB for good), so only `compose` and
what stands above it import yaml, and nothing else imports those. Imports nothing here.
"""
