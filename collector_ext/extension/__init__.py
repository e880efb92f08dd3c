"""Extensions: what is neither source nor way nor sink of telemetry. One folder a type.

The rule of this package: a type's folder is found by its entry point and knows no other type. Imports nothing here.
"""
