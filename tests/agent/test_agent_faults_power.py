"""A real agent that is killed, or whose board loses power, in every phase of an update."""
