"""`otlp`: to any backend that takes OTLP over gRPC."""
