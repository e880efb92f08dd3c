"""The command `edgesync`, one file a noun: the only place that composes. Heavy imports stand inside functions."""
