"""The client against the simulated WaveSpeed: fields, statuses and faults, and what its ledger says was billed."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from darkroom.upstream.callbacks import parse_callback, verify_callback
from darkroom.upstream.client import UpstreamClient
from darkroom.upstream.errors import UnauthorizedError, UpstreamUnavailableError
from darkroom.upstream.outcomes import (
    Accepted,
    Completed,
    Failed,
    ListPage,
    LookOutcome,
    NeverLeft,
    NotFound,
    NotNow,
    Pending,
    Refused,
    Submission,
    Unauthorized,
    Unavailable,
    Unknown,
)
from simulator.testing import RunningSimulator, running_simulator
from tests.contract.upstream.raw_server import Connect

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def sim() -> Iterator[RunningSimulator]:
    """Run a simulator whose tasks end only when a test says so."""
    with running_simulator(inference_min_s=600, inference_max_s=600) as running:
        yield running


def job(text: str = "a fox", images: int = 2, **more: bool) -> Submission:
    return Submission(text, "2048*2048", images, **more)


async def submitted(client: UpstreamClient, submission: Submission) -> str:
    outcome = await client.submit(submission)
    assert isinstance(outcome, Accepted), outcome
    return outcome.prediction.id


async def finished(sim: RunningSimulator, client: UpstreamClient, submission: Submission) -> LookOutcome:
    prediction_id = await submitted(client, submission)
    sim.complete(prediction_id)
    return await client.look(prediction_id)


async def test_a_job_goes_from_created_to_completed(sim: RunningSimulator, connect: Connect) -> None:
    client = await connect(sim.url)
    before = await client.balance()
    outcome = await client.submit(job())
    assert isinstance(outcome, Accepted)
    assert outcome.prediction.status == "created"
    identifier = outcome.prediction.id
    assert isinstance(await client.look(identifier), Pending)
    sim.complete(identifier)
    found = await client.look(identifier)
    assert isinstance(found, Completed)
    assert [output.url is not None for output in found.prediction.outputs] == [True, True]
    assert found.prediction.nsfw == (False, False)
    assert found.prediction.inference_ms is not None
    assert await client.balance() == pytest.approx(before - 0.08)
    assert (await client.price(job(images=3))).price == pytest.approx(0.12)
    assert [record.price for record in await client.billings([identifier], "deduct")] == [pytest.approx(0.08)]


@pytest.mark.parametrize(
    ("marker", "usable", "nsfw"),
    [
        ("outputs=1", [True], (False,)),
        ("null_output=1", [False, True], (False, False)),
        ("null_flags", [True, True], (None, None)),
        ("missing_flags", [True, True], (None, None)),
        ("nsfw=2", [True, True], (False, True)),
    ],
)
async def test_odd_but_finished_results_are_completed(
    sim: RunningSimulator, connect: Connect, marker: str, usable: list[bool], nsfw: tuple[bool | None, ...]
) -> None:
    found = await finished(sim, await connect(sim.url), job(f"a fox [[sim:{marker}]]"))
    assert isinstance(found, Completed)
    assert [output.usable for output in found.prediction.outputs] == usable
    assert found.prediction.nsfw == nsfw


@pytest.mark.parametrize(
    ("marker", "code", "kind"),
    [
        ("fail=1200", "content_moderation", "permanent"),
        ("fail=1401", "invalid_request", "permanent"),
        ("fail=1405", "upstream_failed", "vague"),
        ("fail=5000", "upstream_failed", "transient"),
        ("fail=5004", "generation_timeout", "transient"),
        ("status=timeout", "generation_timeout", "transient"),
        ("status=cancelled", "upstream_failed", "permanent"),
    ],
)
async def test_failed_tasks_say_why(connect: Connect, marker: str, code: str, kind: str) -> None:
    with running_simulator(inference_min_s=0, inference_max_s=0) as sim:
        client = await connect(sim.url)
        identifier = await submitted(client, job(f"a fox [[sim:{marker}]]"))
        sim.wait_until(lambda: sim.predictions()[0]["completed_at"] is not None)
        found = await client.look(identifier)
    assert isinstance(found, Failed)
    assert (found.error.code, found.error.kind) == (code, kind)


async def test_an_unknown_status_goes_on_waiting(connect: Connect) -> None:
    with running_simulator(inference_min_s=0, inference_max_s=0) as sim:
        client = await connect(sim.url)
        identifier = await submitted(client, job("a fox [[sim:status=reticulating]]"))
        sim.wait_until(lambda: sim.predictions()[0]["status"] == "reticulating")
        assert isinstance(await client.look(identifier), Pending)


async def test_deleted_and_never_heard_of_are_told_apart(sim: RunningSimulator, connect: Connect) -> None:
    client = await connect(sim.url)
    identifier = await submitted(client, job())
    assert await client.delete(identifier)
    found = await client.look(identifier)
    assert isinstance(found, Failed)
    assert found.error.kind == "permanent"
    assert isinstance(await client.look("0" * 32), NotFound)
    assert not await client.delete("0" * 32)


@pytest.mark.parametrize("style", ["bare", "data_uri"])
@pytest.mark.parametrize("image_bytes", [None, 3_000_000])
async def test_base64_outputs_become_the_images_and_are_not_held(
    sim: RunningSimulator, connect: Connect, tmp_path: Path, style: str, image_bytes: int | None
) -> None:
    sim.settings(base64_style=style, image_bytes=image_bytes)
    client = await connect(sim.url)
    submission = job(enable_base64_output=True, images=3)
    found = await finished(sim, client, submission)
    assert isinstance(found, Completed)
    assert [output.base64 for output in found.prediction.outputs] == [True] * 3
    again, files = await client.read_result(found.prediction.id, spool_dir=tmp_path)
    assert again == found
    assert sorted(files) == [0, 1, 2]
    assert sorted(files.values()) == _files_in(tmp_path)
    for path in files.values():
        content = _content(path)
        assert content.startswith(PNG)
        assert image_bytes is None or len(content) == image_bytes
    assert (await client.list_predictions(page=1)).items[0].id == found.prediction.id


def _files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _content(path: Path) -> bytes:
    return path.read_bytes()


async def test_sync_mode_answers_with_the_finished_result(connect: Connect) -> None:
    with running_simulator(inference_min_s=0, inference_max_s=0) as sim:
        client = await connect(sim.url)
        urls = await client.submit(job(enable_sync_mode=True))
        texts = await client.submit(job(enable_sync_mode=True, enable_base64_output=True))
    assert isinstance(urls, Accepted)
    assert isinstance(texts, Accepted)
    assert urls.prediction.status == texts.prediction.status == "completed"
    assert all(output.url for output in urls.prediction.outputs)
    assert all(output.base64 for output in texts.prediction.outputs)


@pytest.mark.parametrize(("style", "expected"), [("processing", Accepted), ("504", Unknown)])
async def test_sync_mode_that_gave_up_left_a_task_behind(
    sim: RunningSimulator, connect: Connect, style: str, expected: type
) -> None:
    sim.settings(sync_wait_s=0.01, sync_timeout_style=style)
    client = await connect(sim.url)
    outcome = await client.submit(job(enable_sync_mode=True))
    assert type(outcome) is expected
    page = await client.list_predictions(page=1)
    assert len(page.items) == 1
    assert isinstance(await client.look(page.items[0].id), Pending)


@pytest.mark.parametrize(
    ("marker", "expected", "billed"),
    [
        ("rate_limit", NotNow, 0),
        ("balance_empty", NotNow, 0),
        ("error_before=400", Refused, 0),
        ("error_before=401", NotNow, 0),
        ("error_before=403", NotNow, 0),
        ("error_before=404", NotNow, 0),
        ("error_before=503", Unknown, 0),
        ("html_error", Unknown, 0),
        ("lost_before", Unknown, 0),
        ("lost_before=fin", Unknown, 0),
        ("hang", Unknown, 0),
        ("lost_answer", Unknown, 1),
        ("lost_answer=fin", Unknown, 1),
        ("lost_answer=cut", Unknown, 1),
        ("error_after=500", Unknown, 1),
        ("html_error_after", Unknown, 1),
        ("unreadable", Unknown, 1),
        ("hang_after", Unknown, 1),
    ],
)
async def test_every_fault_of_a_submit_is_called_by_what_the_ledger_can_prove(
    sim: RunningSimulator, connect: Connect, marker: str, expected: type, billed: int
) -> None:
    outcome = await (await connect(sim.url, submit_timeout_s=0.5)).submit(job(f"a fox [[sim:{marker}]]"))
    assert type(outcome) is expected
    assert len(sim.predictions()) == billed
    assert sim.stats()["requests"]["submit"] == 1


@pytest.mark.parametrize("shape", ["message", "error", "html"])
@pytest.mark.parametrize(("status", "expected"), [(400, Refused), (401, NotNow), (500, Unknown), (504, Unknown)])
async def test_every_shape_of_error_is_understood(
    sim: RunningSimulator, connect: Connect, shape: str, status: int, expected: type
) -> None:
    sim.settings(error_shape=shape)
    client = await connect(sim.url)
    assert type(await client.submit(job(f"a fox [[sim:error_before={status}]]"))) is expected


@pytest.mark.parametrize("style", ["402", "400"])
async def test_an_empty_balance_is_seen_in_both_its_forms(sim: RunningSimulator, connect: Connect, style: str) -> None:
    sim.settings(insufficient_balance_style=style)
    client = await connect(sim.url)
    for _ in range(2):
        outcome = await client.submit(job("a balance scale [[sim:balance_empty,x2]]"))
        assert isinstance(outcome, NotNow)
        assert outcome.reason == "balance"


@pytest.mark.parametrize("style", ["seconds", "date", "none"])
async def test_the_rate_limit_is_seen_with_or_without_a_time(
    sim: RunningSimulator, connect: Connect, style: str
) -> None:
    sim.settings(images_per_minute=2, retry_after=style)
    client = await connect(sim.url)
    await submitted(client, job())
    outcome = await client.submit(job("another"))
    assert isinstance(outcome, NotNow)
    assert outcome.reason == "rate"
    assert (outcome.retry_after_s is None) == (style == "none")
    assert outcome.retry_after_s is None or 0 <= outcome.retry_after_s <= 60


async def test_a_bad_key_is_the_lanes_trouble_everywhere(sim: RunningSimulator, connect: Connect) -> None:
    sim.settings(keys=["another"])
    client = await connect(sim.url)
    outcome = await client.submit(job())
    assert isinstance(outcome, NotNow)
    assert outcome.reason == "auth"
    assert isinstance(await client.look("0" * 32), Unauthorized)
    with pytest.raises(UnauthorizedError):
        await client.list_predictions(page=1)
    with pytest.raises(UnauthorizedError):
        await client.balance()


async def test_an_outage_costs_nothing_and_is_over_when_it_is(sim: RunningSimulator, connect: Connect) -> None:
    client = await connect(sim.url)
    identifier = await submitted(client, job())
    with sim.outage():
        assert isinstance(await client.submit(job()), NeverLeft)
        assert isinstance(await client.look(identifier), Unavailable)
        with pytest.raises(UpstreamUnavailableError):
            await client.balance()
    assert isinstance(await client.look(identifier), Pending)
    assert len(sim.predictions()) == 1


@pytest.mark.parametrize("fault", ["error_before", "lost_before", "html_error", "unreadable", "rate_limit"])
async def test_a_look_that_fails_ends_nothing(sim: RunningSimulator, connect: Connect, fault: str) -> None:
    client = await connect(sim.url)
    identifier = await submitted(client, job())
    sim.fault(fault, call="result")
    assert isinstance(await client.look(identifier), Unavailable)


@pytest.mark.parametrize("where", ["input", "inputs", "none"])
@pytest.mark.parametrize("total", [True, False])
async def test_pages_together_list_everything_once(
    sim: RunningSimulator, connect: Connect, where: str, total: bool
) -> None:
    sim.settings(list_input=where, list_total=total)
    client = await connect(sim.url)
    sent = [await submitted(client, job(f"fox {number}", images=1)) for number in range(5)]
    window: dict[str, Any] = {
        "created_after": datetime.now(UTC) - timedelta(minutes=5),
        "created_before": datetime.now(UTC) + timedelta(minutes=5),
    }
    pages: list[ListPage] = []
    while not pages or not pages[-1].is_last:
        pages.append(await client.list_predictions(page=len(pages) + 1, page_size=2, **window))
        assert len(pages) < 5
    items = [item for page in pages for item in page.items]
    assert [item.id for item in items] == sent[::-1]
    assert all(page.complete and page.server_date is not None for page in pages)
    prompts = [item.input.prompt if item.input else None for item in items]
    assert prompts == ([None] * 5 if where == "none" else [f"fox {number}" for number in (4, 3, 2, 1, 0)])
    late = await client.list_predictions(page=1, created_after=datetime.now(UTC) + timedelta(minutes=1))
    assert (late.items, late.is_last) == ((), True)


async def test_a_callback_is_verified_with_the_accounts_own_secret(sim: RunningSimulator, connect: Connect) -> None:
    sim.settings(allow_http_callbacks=True)
    received: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        received.put_nowait((dict(request.headers), await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/callback/token", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = await connect(sim.url)
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/callback/token"
        outcome = await client.submit(job(), callback_url=url)
        assert isinstance(outcome, Accepted)
        await asyncio.to_thread(sim.complete, outcome.prediction.id)
        headers, body = await asyncio.wait_for(received.get(), 10)
        verify_callback(headers, body, await client.webhook_secret(), now_s=time.time())
        assert parse_callback(body).id == outcome.prediction.id
    finally:
        await runner.cleanup()
