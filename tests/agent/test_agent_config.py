"""A board's own configuration: what is read, and what each mistake in it is told."""
