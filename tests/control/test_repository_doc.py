"""What docs/fleet-repository.md and docs/boards.md show is a fleet, with config that its boards' type allows."""

from __future__ import annotations

import re
from pathlib import Path

from edgesync.boards import profile
from edgesync.control.desired import compile_fleet
from edgesync.control.repository import load
from edgesync.control.types import Fleet, SourceFile
from edgesync.wire.bundle import Settings, decode
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Manners
from tests.control.config_texts import here

DOCS = Path(__file__).parents[2] / "docs"


def example() -> Fleet:
    blocks = re.findall(r"```\w+\n# (\S+)\n(.*?)```", (DOCS / "fleet-repository.md").read_text(), re.DOTALL)
    (allowed,) = re.findall(r"```toml\n(\[config\]\n.*?)```", (DOCS / "boards.md").read_text(), re.DOTALL)
    package = Path(profile.__file__).with_name("files.toml").read_text().partition("[config]")[0]
    types = {"files": profile.parse("files", f"{package}{allowed}".encode(), "docs/boards.md")}
    return load({path: SourceFile(text.encode()) for path, text in blocks}, "doc", types, here)


def test_the_example_of_the_manual_is_valid():
    assert {device: wanted.release for device, wanted in compile_fleet(example()).items()} == {
        "demo.b01": "v2",
        "demo.b02": "v1",
    }


def test_its_config_manners_and_windows_are_what_the_manual_says():
    fleet = example()
    wanted = compile_fleet(fleet)
    one, two = (decode(config.data) for name in ("demo.b01", "demo.b02") if (config := wanted[DeviceId(name)].config))
    assert one.files["app/site.conf"].data == b"name = b01\nsite = plant-7\n\nlog = debug\n\n"
    assert {path: file.mode for path, file in two.files.items()} == {"app/secret.conf": 0o600, "app/site.conf": 0o644}
    assert one.files.keys() - two.files.keys() == {"app/trial.conf"}
    assert one.settings == Settings(("app-check",), ("app-reload",), ("app-alive",), 30)
    assert set(fleet.configs.values()) == {w.config for w in wanted.values()}
    assert wanted[DeviceId("demo.b01")].manners == Manners(1_000_000, rate=2000, share=50)
    (window,) = fleet.windows
    assert (window.name, window.days, window.start, window.end) == ("nights", {0, 1, 2, 3}, 22 * 60, 4 * 60)
