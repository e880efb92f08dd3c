"""Index and leaves of a blob: any bytes are a value or a named error."""
