"""`filelog`: lines of log files as they are written, over rotations and restarts, without ever touching the writer."""
