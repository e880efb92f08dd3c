"""`parquet`: telemetry into a lake on disk, acknowledged when it is synced."""
