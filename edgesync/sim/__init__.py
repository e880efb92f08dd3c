"""Bad links, played fleets and faults, for our tests and our users'."""
