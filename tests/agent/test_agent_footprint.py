"""What the resident agent weighs: RSS under mutual TLS while it fetches, and the packages it loads."""
