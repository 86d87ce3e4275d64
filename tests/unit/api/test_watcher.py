"""Who waits for a job is woken by its changes only, and by every doubt."""

import asyncio

import fakeredis
import pytest

from api.watcher import Watcher
from darkroom.store import keys
from tests.support.waiting import wait_until_async

SOON_S = 10.0


@pytest.fixture
async def redis() -> fakeredis.FakeAsyncRedis:
    return fakeredis.FakeAsyncRedis(decode_responses=True)


async def test_a_change_wakes_who_watches_that_job_and_nobody_else(redis: fakeredis.FakeAsyncRedis) -> None:
    watcher = Watcher(redis)
    listening = asyncio.create_task(watcher.run())
    await wait_until_async(lambda: watcher.connections == 1)
    with watcher.watch("a") as mine, watcher.watch("a") as also_mine, watcher.watch("b") as other:
        await redis.publish(keys.CHANNEL, "a")
        assert await mine.changed(SOON_S)
        assert await also_mine.changed(SOON_S)
        assert not await other.changed(0)
        assert not await mine.changed(0)
    assert watcher.count == 0
    listening.cancel()


async def test_a_change_between_two_waits_is_not_lost() -> None:
    watcher = Watcher(fakeredis.FakeAsyncRedis())
    with watcher.watch("a") as watch:
        watch.look_again()
        watch.look_again()
        assert await watch.changed(0.5)


async def test_a_process_that_stops_lets_everybody_go() -> None:
    watcher = Watcher(fakeredis.FakeAsyncRedis())
    with watcher.watch("a") as watch:
        waiting = asyncio.create_task(watch.changed(SOON_S))
        await asyncio.sleep(0)
        watcher.let_go()
        assert await waiting
    assert watcher.closing


async def test_a_lost_connection_wakes_everybody_when_it_is_back(
    redis: fakeredis.FakeAsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher(redis)
    listened = watcher._listen
    failures = iter([True, True, False])

    async def listen() -> None:
        if next(failures):
            raise ConnectionError("gone")
        await listened()

    monkeypatch.setattr(watcher, "_listen", listen)
    with watcher.watch("a") as watch:
        listening = asyncio.create_task(watcher.run())
        assert await watch.changed(SOON_S)
    listening.cancel()
