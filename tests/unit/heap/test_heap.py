"""Every process of the service leaves what it imported and built out of later garbage collections, before it works."""

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from darkroom import heap
from darkroom.cli import processes
from worker import bootstep
from worker.bootstep import ReactorStep


@pytest.fixture
def collector() -> Iterator[None]:
    """Leave the collector of the tests as it was."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("collector")
def test_what_is_there_is_frozen_and_what_comes_later_is_still_collected() -> None:
    early: list[Any] = []
    early.append(early)
    heap.settle_heap()
    assert gc.get_freeze_count() > 10_000
    assert not any(thing is early for thing in gc.get_objects())
    assert gc.get_threshold()[0] == heap.YOUNG

    class Marked(list[Any]):
        pass

    late = Marked()
    late.append(late)
    del late
    assert any(type(thing) is Marked for thing in gc.get_objects())
    gc.collect()
    assert not any(type(thing) is Marked for thing in gc.get_objects())


def test_the_api_settles_before_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(processes, "settle_heap", lambda: done.append("settled"))

    def run(server: uvicorn.Server, sockets: list[Any]) -> None:
        done.append("answers")
        server.started = True
        for listener in sockets:
            listener.close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr("api.app.create_app", FastAPI)
    processes.api(port=0)
    assert done == ["settled", "answers"]


def test_a_worker_settles_before_it_consumes(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(bootstep, "settle_heap", lambda: done.append("settled"))
    monkeypatch.setattr(bootstep, "judge_store", lambda _: None)
    monkeypatch.setattr(bootstep, "worker_shutting_down", SimpleNamespace(connect=lambda *_, **__: None))
    pool = type("TaskPool", (), {"__module__": "celery.concurrency.thread"})()
    amqp = SimpleNamespace(queues=SimpleNamespace(consume_from={}))
    settings = SimpleNamespace(redis=SimpleNamespace(redis_url="redis://127.0.0.1"))
    app = SimpleNamespace(amqp=amqp, settings=settings, runtime=SimpleNamespace())
    worker = SimpleNamespace(app=app, pool=pool, concurrency=2)
    step = ReactorStep(worker)

    def call(coroutine: Any, **_: Any) -> None:
        coroutine.close()
        done.append("opened")

    step._reactor.stop()
    step._reactor = SimpleNamespace(start=lambda: None, call=call)  # type: ignore[assignment]
    step.start(worker)
    assert done == ["opened", "settled"]
