"""HTTP as the last resort: ranges from a real server, and from servers that lie, hang and break off."""
