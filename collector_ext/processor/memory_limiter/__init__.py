"""`memory_limiter`: refuses data while this process is larger than it may be."""
