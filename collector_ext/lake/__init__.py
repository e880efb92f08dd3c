"""Telemetry on disk as Parquet: written whole or not at all, compacted by the hour, read with DuckDB."""
