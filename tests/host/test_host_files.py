"""Files that are whole or not there, whatever call of the write fails."""
