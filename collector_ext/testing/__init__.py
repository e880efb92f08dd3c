"""What tests of components share, ours and those that are written elsewhere: the contract, and consumers that record.

The rule of this package: no test framework is imported, a failed check is an AssertionError that says which rule broke.
Imports nothing here.
"""
