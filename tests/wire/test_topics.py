"""Topics: parsing undoes building, and nothing else is one."""
