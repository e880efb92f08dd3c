"""OTLP's protobuf for `pdata`: written by hand where a board does it, read with the official package on the server."""
