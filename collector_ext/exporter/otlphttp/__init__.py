"""`otlphttp`: to any backend that takes OTLP over HTTP."""
