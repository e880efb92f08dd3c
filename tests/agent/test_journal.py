"""The journal on a real disk: cut off at each call, unreadable, of another version, and put aside."""
