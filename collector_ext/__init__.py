"""Telemetry in the style of the OpenTelemetry Collector: receivers, processors, exporters, extensions.

The rule of this package: of edgesync it imports only `edgesync.wire` and `edgesync.host`. Imports nothing here.
"""
