"""What the notebooks ask of a lake. Each function takes a `Lake` and gives a pandas frame, or the finding in it."""
