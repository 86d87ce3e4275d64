"""Whether a file is posted, found again or refused: where it is not known what an upload became, nothing is paid."""

import hashlib
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import typer

from darkroom.batches import Batch, BatchStatus
from darkroom.cli.batch_lines import Prepared
from darkroom.cli.batch_state import Memory, Sent, accepted, first_upload
from darkroom.cli.batch_upload import Upload, found_or_posted
from darkroom.client import ApiError, AsyncClient, ConnectionFailed
from darkroom.client.errors import OF_STATUS, ServerFailed
from darkroom.errors import DarkroomError
from darkroom.jobs import Cost

URL, KEY = "http://127.0.0.1:8000", "cli-key"


class Service:
    """Answers uploads by key; `problem` is what the next one gets instead."""

    def __init__(self) -> None:
        self.batches: dict[str, str] = {}
        self.posted: list[str] = []
        self.problem: Exception | None = None
        self.takes_it_first = False

    async def submit_batch(self, lines: Prepared, *, idempotency_key: str, **_: Any) -> Batch:
        assert list(lines) == [b'{"prompt":"a"}\n']
        self.posted.append(idempotency_key)
        if self.problem is None or self.takes_it_first:
            self.batches.setdefault(idempotency_key, f"batch_{len(self.batches) + 1}")
        if self.problem is not None:
            raise self.problem
        return self._batch(self.batches[idempotency_key])

    async def batch(self, batch_id: str) -> Batch:
        if batch_id not in self.batches.values():
            raise api_error(404, "not_found")
        return self._batch(batch_id)

    def _batch(self, batch_id: str) -> Batch:
        cost = Cost(estimated=0.04, spent=0.0, images_requested=1, images_delivered=0)
        now = datetime.now(UTC)
        return Batch(id=batch_id, status=BatchStatus.RUNNING, total=1, counts={"queued": 1}, cost=cost, created_at=now)  # type: ignore[arg-type]


def api_error(status: int, code: str) -> ApiError:
    return OF_STATUS.get(status, ServerFailed)(code, status=status, detail="no")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def upload(tmp_path: Path) -> Upload:
    content = b'{"prompt":"a"}\n'
    prepared = Prepared(io.BytesIO(content), [1], hashlib.sha256(content).hexdigest())
    return Upload("f.jsonl", prepared, {"on_invalid": "refuse"}, KEY, Memory([tmp_path / "state.json"]))


async def post(service: Service, upload: Upload, *, again: bool = False) -> str:
    return (await found_or_posted(cast("AsyncClient", service), URL, upload, again=again)).id


async def test_what_was_posted_is_found_and_not_posted_again(service: Service, upload: Upload) -> None:
    assert await post(service, upload) == await post(service, upload) == "batch_1"
    assert service.posted == [KEY]


async def test_again_is_another_key_and_a_repeat_of_it_goes_on(service: Service, upload: Upload) -> None:
    await post(service, upload)
    service.problem, service.takes_it_first = ConnectionFailed("gone", connected=True), True
    with pytest.raises(ConnectionFailed):
        await post(service, upload, again=True)
    service.problem = None
    assert await post(service, upload) == "batch_2"
    first, second, third = service.posted
    assert first == KEY
    assert second == third
    assert second.startswith(f"{KEY}-")


@pytest.mark.parametrize(
    "problem",
    [
        ConnectionFailed("gone", connected=True),
        *(api_error(status, "any") for status in (500, 502, 503, 504)),
        api_error(401, "unauthorized"),
        api_error(404, "http_404"),
        api_error(409, "idempotency_in_progress"),
        api_error(429, "http_429"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
async def test_what_may_have_become_a_batch_is_repeated_by_its_key_for_a_day_and_then_refused(
    service: Service, upload: Upload, problem: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    service.problem, service.takes_it_first = problem, True
    with pytest.raises(type(problem)):
        await post(service, upload)
    sent = upload.memory.find(URL, KEY)
    assert sent is not None
    assert sent.batch_id is None
    service.problem = None
    assert await post(service, upload) == "batch_1"
    assert set(service.posted) == {KEY}

    old = (datetime.now(UTC) - timedelta(hours=24)).isoformat()
    upload.memory.keep(URL, KEY, Sent(URL, KEY, old))
    count = len(service.posted)
    with pytest.raises(typer.Exit):
        await post(service, upload)
    assert len(service.posted) == count
    assert "it may have become a batch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "code"), [(422, "validation_error"), (413, "too_large"), (429, "line_full"), (400, "unreadable")]
)
async def test_what_the_service_refuses_is_forgotten(service: Service, upload: Upload, status: int, code: str) -> None:
    service.problem = api_error(status, code)
    with pytest.raises(ApiError):
        await post(service, upload)
    assert upload.memory.find(URL, KEY) is None


async def test_a_refused_again_leaves_the_first_batch_known(service: Service, upload: Upload) -> None:
    await post(service, upload)
    service.problem = api_error(429, "line_full")
    with pytest.raises(ApiError):
        await post(service, upload, again=True)
    service.problem = None
    assert await post(service, upload) == "batch_1"


async def test_a_batch_whose_time_is_over_is_not_posted_anew_unasked(
    service: Service, upload: Upload, capsys: pytest.CaptureFixture[str]
) -> None:
    service.problem = api_error(409, "idempotency_result_gone")
    with pytest.raises(typer.Exit):
        await post(service, upload)
    assert "--again" in capsys.readouterr().err
    assert upload.memory.find(URL, KEY) is not None

    upload.memory.keep(URL, KEY, accepted(first_upload(URL, KEY), "batch_gone"))
    service.problem = None
    with pytest.raises(typer.Exit):
        await post(service, upload)
    assert "which the service does not know" in capsys.readouterr().err
    assert service.posted == [KEY]


async def test_nothing_is_sent_where_it_could_not_be_remembered(service: Service, upload: Upload) -> None:
    broken = Upload(upload.name, upload.prepared, upload.options, KEY, Memory([Path("/dev/null/state.json")]))
    with pytest.raises((OSError, DarkroomError)):
        await post(service, broken)
    assert service.posted == []
