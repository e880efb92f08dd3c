"""Start and stop: their order, what is reported by itself, and what a failure does."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from parts import Story, configure, factories

from collector_ext.consumererror import PermanentError, RetryableError
from collector_ext.pdata import Logs, Metrics
from collector_ext.service import CollectorService
from collector_ext.status import Event, Status
from edgesync.wire.errors import CollectorFailedError, ConfigError

TEXT = """\
receivers: {played: {%s}}
processors: {played/a: , played/b: }
exporters: {played/x: {%s}, played/y: {password: hush}}
extensions: {played/first: , watcher: {after: [played/first]}}
service:
  extensions: [watcher, played/first]
  pipelines:
    metrics: {receivers: [played], processors: [played/a, played/b], exporters: [played/x]}
    logs: {receivers: [played], processors: [played/a], exporters: [played/x, played/y]}
"""
STARTED = [
    "start extension:played/first",
    "start extension:watcher",
    "config",
    "start exporter:played/x",
    "start exporter:played/y",
    "start processor:played/b",
    "start processor:played/a",
    "start processor:played/a",
    "start receiver:played",
    "ready",
]
LIFE = [Status.STARTING, Status.OK, Status.STOPPING, Status.STOPPED]


def service(receiver: str = "", exporter: str = "") -> tuple[CollectorService, Story]:
    story = Story()
    return CollectorService(configure(TEXT % (receiver, exporter), *factories(story))), story


def run(collector: CollectorService) -> None:
    """A life that is stopped as soon as it has begun."""

    async def life() -> None:
        stop = asyncio.Event()
        stop.set()
        await collector.run(stop)

    asyncio.run(life())


def test_extensions_start_first_receivers_last_and_everything_stops_in_reverse() -> None:
    collector, story = service()
    run(collector)
    stopped = ["stop" + line.removeprefix("start") for line in reversed(STARTED) if line.startswith("start")]
    assert story.lines == [*STARTED, "not ready", *stopped]


def test_each_component_reports_its_life_by_itself() -> None:
    collector, story = service()
    run(collector)
    for name in ("receiver:played", "exporter:played/x", "extension:watcher", "extension:played/first"):
        assert story.statuses(name) == LIFE


def test_a_component_that_reports_in_its_start_keeps_its_own_status() -> None:
    collector, story = service(receiver="say: RECOVERABLE_ERROR")
    run(collector)
    assert story.statuses("receiver:played") == [
        Status.STARTING,
        Status.RECOVERABLE_ERROR,
        Status.STOPPING,
        Status.STOPPED,
    ]


def test_a_start_that_fails_ends_the_whole_start_and_everything_is_shut_down() -> None:
    collector, story = service(exporter="fail: start")
    with pytest.raises(OSError, match="cannot start"):
        run(collector)
    assert story.statuses("exporter:played/x") == [
        Status.STARTING,
        Status.PERMANENT_ERROR,
        Status.STOPPING,
        Status.STOPPED,
    ]
    assert "start receiver:played" not in story.lines
    assert "stop receiver:played" in story.lines
    assert story.statuses("receiver:played") == []


def test_a_shutdown_that_fails_keeps_no_other_from_its_own() -> None:
    collector, story = service(receiver="fail: shutdown")
    run(collector)
    assert story.statuses("receiver:played")[-1] is Status.PERMANENT_ERROR
    assert story.statuses("exporter:played/x")[-1] is Status.STOPPED
    assert story.lines[-1] == "stop extension:played/first"


def test_a_fatal_error_at_any_moment_shuts_the_collector_down() -> None:
    collector, story = service()

    async def life() -> None:
        running = asyncio.create_task(collector.run(asyncio.Event()))
        while "ready" not in story.lines:
            await asyncio.sleep(0)
        host = story.made["exporter:played/y"].host
        assert host is not None
        host.report_status(Status.FATAL_ERROR, ValueError("the disk is gone"))
        await running

    with pytest.raises(CollectorFailedError, match="the disk is gone"):
        asyncio.run(life())
    assert story.statuses("exporter:played/y") == [Status.STARTING, Status.OK, Status.FATAL_ERROR]
    assert story.statuses("receiver:played") == LIFE


def test_shutdown_is_safe_without_a_start_and_twice() -> None:
    collector, story = service()

    async def life() -> None:
        await collector.shutdown()
        await collector.shutdown()

    asyncio.run(life())
    assert story.events == []
    assert "not ready" not in story.lines
    assert len(story.lines) == len(set(story.lines)) + 1  # the processor of two pipelines is two instances


def test_the_effective_configuration_is_told_with_its_secrets_blacked_out() -> None:
    collector, story = service()
    run(collector)
    config: Any = story.config
    assert config["exporters"]["played/y"]["password"] == "[REDACTED]"
    assert config["service"]["pipelines"]["metrics"]["processors"] == ["played/a", "played/b"]
    assert "hush" not in str(config)


def test_extensions_that_depend_on_each_other_in_a_circle_are_an_error_that_names_it() -> None:
    text = """
extensions: {watcher/a: {after: [watcher/b]}, watcher/b: {after: [watcher/c]}, watcher/c: {after: [watcher/b]}}
service: {extensions: [watcher/a, watcher/b, watcher/c]}
"""
    with pytest.raises(ConfigError, match="cycle found: watcher/b -> watcher/c -> watcher/b"):
        CollectorService(configure(text, *factories(Story())))


def test_an_extension_that_another_depends_on_must_be_enabled() -> None:
    text = "extensions: {watcher: {after: [played]}, played: }\nservice: {extensions: [watcher]}"
    with pytest.raises(ConfigError, match='"watcher" depends on extension "played", which is not enabled'):
        CollectorService(configure(text, *factories(Story())))


def test_an_extension_that_is_not_enabled_does_not_run() -> None:
    story = Story()
    text = "extensions: {watcher: , played: }\nservice: {extensions: [watcher]}"
    run(CollectorService(configure(text, *factories(story))))
    assert list(story.made) == ["extension:watcher"]


def test_a_watcher_that_fails_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    collector, story = service()

    def fail(*_args: object) -> None:
        raise ValueError("broken watcher")

    story.made["extension:watcher"].component_status_changed = fail  # type: ignore[attr-defined]
    run(collector)
    assert story.lines[: len(STARTED)] == STARTED
    assert "broken watcher" in caplog.text


# --- data ---------------------------------------------------------------------------------------------------------


def offer(collector: CollectorService, story: Story, data: Metrics | Logs) -> None:
    receiver = story.made["receiver:played"]
    assert receiver.next is not None
    asyncio.run(receiver.next.consume(data))


def test_data_goes_down_the_pipeline_of_its_signal() -> None:
    collector, story = service()
    metrics, logs = Metrics(()), Logs(())
    offer(collector, story, metrics)
    offer(collector, story, logs)
    assert story.made["exporter:played/x"].got == [metrics, logs]
    assert story.made["exporter:played/y"].got == [logs]
    assert story.made["processor:played/b"].got == [metrics]


def test_an_exporter_that_refuses_keeps_the_data_from_no_other_and_the_sender_hears_of_it() -> None:
    collector, story = service()
    first, second = story.made["exporter:played/x"], story.made["exporter:played/y"]
    first.error = RetryableError("busy", delay=3.0)
    with pytest.raises(RetryableError) as raised:
        offer(collector, story, Logs(()))
    assert raised.value.delay == 3.0
    assert len(second.got) == 1
    second.error = PermanentError("malformed")
    with pytest.raises(PermanentError):
        offer(collector, story, Logs(()))


def test_a_signal_that_no_pipeline_carries_is_an_error_of_the_receiver() -> None:
    story = Story()
    text = TEXT.replace("    logs:", "    traces:") % ("", "")
    collector = CollectorService(configure(text, *factories(story)))
    with pytest.raises(LookupError, match="no pipeline of logs"):
        offer(collector, story, Logs(()))


def test_a_recovery_is_told_in_the_log_as_the_error_was_and_a_start_is_not(caplog: pytest.LogCaptureFixture) -> None:
    collector, _ = service()
    one = next(one for one in collector.instances if str(one.id) == "receiver:played")

    async def life() -> None:
        await collector.start()
        for status in (Status.RECOVERABLE_ERROR, Status.OK):
            collector.report(one, Event(status, 0.0, None))
        await collector.shutdown()

    caplog.set_level("INFO", "collector")
    asyncio.run(life())
    told = [(record.levelname, record.message) for record in caplog.records if "receiver:played is" in record.message]
    assert told == [
        ("WARNING", "receiver:played is StatusRecoverableError"),
        ("INFO", "receiver:played is StatusOK"),
    ]


@pytest.mark.parametrize(
    ("level", "least"), [("debug", "DEBUG"), ("info", "INFO"), ("warn", "WARNING"), ("error", "ERROR")]
)
def test_the_log_has_what_its_level_lets_through(level: str, least: str, caplog: pytest.LogCaptureFixture) -> None:
    text = (TEXT % ("", "")).replace("service:", f"service:\n  telemetry: {{logs: {{level: {level}}}}}")
    before = logging.getLogger("collector").level
    caplog.set_level("DEBUG")
    try:
        collector = CollectorService(configure(text, *factories(Story())))
        one = collector.instances[-1]

        async def life() -> None:
            await collector.start()
            for status in (Status.RECOVERABLE_ERROR, Status.OK):
                collector.report(one, Event(status, 0.0, None))
            logging.getLogger("collector.exporter.played").error("worse")
            await collector.shutdown()

        asyncio.run(life())
    finally:
        logging.getLogger("collector").setLevel(before)
    order = ["DEBUG", "INFO", "WARNING", "ERROR"]
    told = {record.levelname for record in caplog.records if record.name.startswith("collector")}
    assert told == set(order[order.index(least) :])


def test_statuses_are_metrics() -> None:
    collector, _ = service()
    run(collector)
    text = collector.meter.exposition().decode()
    assert 'collector_health_status{id="played/x",kind="exporter",pipelines="metrics logs"} 7' in text
