"""What the entry point names."""

from __future__ import annotations

from collector_ext.component import ReceiverFactory, Stability
from collector_ext.ids import Signal
from collector_ext.receiver.filelog.config import FileLogConfig
from collector_ext.receiver.filelog.receiver import FileLog

FACTORY = ReceiverFactory("filelog", Stability.ALPHA, FileLogConfig, FileLog, frozenset({Signal.LOGS}))
