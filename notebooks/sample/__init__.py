"""The fleet whose telemetry the notebooks show: a model with planted troubles, sent through the real pipeline."""
