"""`otlp`: what others send as OTLP, over gRPC and over HTTP."""
