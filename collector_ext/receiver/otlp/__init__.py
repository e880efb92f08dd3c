"""`otlp`: what others send as OTLP over HTTP."""
