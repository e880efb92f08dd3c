"""OpenTelemetry's names and units as Prometheus': what its compatibility specification says. Pure.

`system.network.io` in `By`, counting up, is `system_network_io_bytes_total`.
"""

from __future__ import annotations

import re
from functools import lru_cache

UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "1": "",
    "%": "percent",
}
PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}

_KEPT = 1024
"""Names that are remembered; callers check their length first."""
_ANNOTATION = re.compile(r"\{[^}]*\}")
_METRIC_WORD = re.compile(r"[a-zA-Z0-9:]+")
_NO_LABEL = re.compile(r"[^a-zA-Z0-9]+")


@lru_cache(_KEPT)
def metric_name(name: str, unit: str, *, total: bool, gauge: bool, suffixes: bool, namespace: str) -> str:
    """With `suffixes`: the unit unless the name has it, then `_total` of a counter, `_ratio` of a gauge in `1`. Where
    nothing of a name can stay it is "".
    """
    words = _METRIC_WORD.findall(name)
    if not words:
        return ""
    if suffixes:
        words += [word for word in _unit_words(unit) if word not in words]
        if total:
            words = [word for word in words if word != "total"] + ["total"]
        if gauge and unit == "1":
            words = [word for word in words if word != "ratio"] + ["ratio"]
    made = "_".join([namespace, *words] if namespace else words)
    return f"_{made}" if made[0].isdigit() else made


@lru_cache(_KEPT)
def label_name(key: str) -> str:
    """Two underscores at the beginning are Prometheus' own, a digit there is no name: `key_` stands before those."""
    made = _NO_LABEL.sub("_", key) or "_"
    if made[0] == "_":
        return f"key{made}"
    return f"key_{made}" if made[0].isdigit() else made


def _unit_words(unit: str) -> list[str]:
    """`By/s` is bytes, per_second. What stands in braces is a remark."""
    main, _, per = _ANNOTATION.sub("", unit).strip().partition("/")
    words = [_word(UNITS.get(main, main))]
    if per := _word(PER.get(per, per)):
        words.append(f"per_{per}")
    return [word for word in words if word]


def _word(unit: str) -> str:
    return "_".join(_METRIC_WORD.findall(unit))
