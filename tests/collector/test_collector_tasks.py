"""The background work of components: watched, and gone after the end."""

from __future__ import annotations

import asyncio

from collector_ext.status import Status
from collector_ext.tasks import Background
from collector_ext.testing.doubles import Host


def test_a_task_that_fails_is_told_and_the_others_go_on() -> None:
    async def life() -> tuple[Host, list[str]]:
        host, background, said = Host(), Background(), []

        async def fails() -> None:
            raise ValueError("the disk is gone")

        async def goes_on() -> None:
            await asyncio.sleep(0.01)
            said.append("still here")

        background.spawn(host, fails())
        background.spawn(host, goes_on())
        while not said:
            await asyncio.sleep(0.001)
        await background.end()
        return host, said

    host, _ = asyncio.run(life())
    assert host.status is Status.PERMANENT_ERROR
    assert str(host.events[-1].error) == "the disk is gone"


def test_nothing_is_left_after_the_end_not_even_what_never_began() -> None:
    async def life() -> Host:
        host, background = Host(), Background()
        await background.end()

        async def forever() -> None:
            await asyncio.sleep(3600)

        background.spawn(host, forever())
        await background.end()
        await background.end()
        assert len(asyncio.all_tasks()) == 1
        return host

    assert asyncio.run(life()).status is Status.STARTING
