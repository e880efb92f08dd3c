"""Every name that this receiver sends: OpenTelemetry's semantic conventions, and ours where it has none.

The conventions of hosts are in development and rename things, so they are pinned by SCHEMA_URL and stand here only.
"""

from __future__ import annotations

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
SCOPE = "collector_ext/receiver/hostmetrics"

MEMORY_USAGE, MEMORY_STATE = "system.memory.usage", "system.memory.state"
MEMORY_LIMIT = "system.memory.limit"
MEMORY_UTILIZATION = "system.memory.utilization"
MEMORY_AVAILABLE = "system.memory.linux.available"
PAGING_USAGE, PAGING_STATE = "system.paging.usage", "system.paging.state"
PAGING_FAULTS, FAULT_TYPE = "system.paging.faults", "system.paging.fault.type"
CPU_TIME, CPU_MODE = "system.cpu.time", "cpu.mode"
DEVICE = "system.device"
DISK_IO, DISK_OPERATIONS, DISK_DIRECTION = "system.disk.io", "system.disk.operations", "disk.io.direction"
NETWORK_IO, NETWORK_PACKETS = "system.network.io", "system.network.packet.count"
NETWORK_ERRORS, NETWORK_DROPPED = "system.network.errors", "system.network.packet.dropped"
INTERFACE, NETWORK_DIRECTION = "network.interface.name", "network.io.direction"
CONNECTIONS = "system.network.connection.count"
CONNECTION_STATE, TRANSPORT = "network.connection.state", "network.transport"

# Not in the conventions.
OOM_KILLS = "edgesync.memory.oom_kills"
PRESSURE, WAITING = "edgesync.memory.pressure", "edgesync.memory.waiting"
TCP_SEGMENTS, TCP_RETRANSMITTED = "edgesync.tcp.segments", "edgesync.tcp.segments.retransmitted"
TCP_ROUND_TRIP, STATISTIC = "edgesync.tcp.round_trip", "statistic"
