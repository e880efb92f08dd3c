"""One TOML a board type and its boot backend: which slot is booted, which is written, what is tried next."""
