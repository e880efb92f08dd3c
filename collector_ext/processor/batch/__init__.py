"""`batch`: many small batches become one, and every sender hears what became of its own."""
