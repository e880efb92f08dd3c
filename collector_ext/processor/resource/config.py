"""Keys as in the Collector; of its actions insert, update, upsert and delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from edgesync.wire.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Action:
    """`insert` sets what is not there, `update` what is there, `upsert` either; `delete` removes. The value is `value`,
    or that of another attribute, `from_attribute`, if that is there.
    """

    key: str = ""
    action: Literal["insert", "update", "upsert", "delete"] = "upsert"
    value: Any = None
    from_attribute: str = ""

    def validate(self) -> None:
        if not self.key:
            raise ConfigError("key: missing, expected the name of an attribute")
        given = (self.value is not None) + bool(self.from_attribute)
        if given != (self.action != "delete"):
            expected = "neither value nor from_attribute" if self.action == "delete" else "value or from_attribute"
            raise ConfigError(f"{self.action} of {self.key!r}: expected {expected}")
        if not isinstance(self.value, str | bool | int | float | None):
            raise ConfigError(f"value of {self.key!r}: found {self.value!r:.60}, expected text, a number or a boolean")


@dataclass(frozen=True, slots=True)
class ResourceConfig:
    attributes: tuple[Action, ...] = ()
