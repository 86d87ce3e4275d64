"""One output's copy never holds a place for ever, nor outlives the work that it belongs to."""

import asyncio
import errno
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from darkroom.errors import StaleLeaseError
from darkroom.storage.copy import StoredObject
from darkroom.storage.errors import OutputMissingError, StorageRefusedError
from darkroom.store.attempts import Moved, StoreClaim, Ticket
from darkroom.store.records import JobRecord
from worker.stages import copying
from worker.stages.copying import copy_missing

STORED = StoredObject("key", "image/png", 10, "0" * 64, 1, 1)


class Attempts:
    """Keeps outputs, or says that the lease is lost."""

    def __init__(self, moved: Moved = Moved.DONE) -> None:
        self.moved = moved

    async def save_output(self, ticket: Ticket, index: int, output: str) -> Moved:
        """Answer."""
        return self.moved


def context(moved: Moved = Moved.DONE) -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(storage=SimpleNamespace(prefix="")),
        attempts=Attempts(moved),
        bucket=SimpleNamespace(name="bucket"),
        copies=asyncio.Semaphore(2),
    )


def claim(outputs: int = 2) -> StoreClaim:
    sources = [
        {"index": index, "url": f"https://out/{index}", "base64": False, "nsfw": None} for index in range(outputs)
    ]
    record = JobRecord("job_01M82AGT5K0VXS9Z73QXAHCH6J", {}, {"sources": orjson.dumps(sources).decode()})
    return StoreClaim(Ticket(record.job_id, 1, 1), 0, record)


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Say what becomes of the transfer of each address: an exception, or None to hang; else it is stored."""
    fates: dict[str, Any] = {}

    async def transfer(ctx: Any, source: copying.Source, *_: Any) -> StoredObject:
        fate = fates.get(source.url or "", STORED)
        if isinstance(fate, Exception):
            raise fate
        if fate is None:
            fates["hanging"] = fates.get("hanging", 0) + 1
            try:
                await asyncio.Event().wait()
            finally:
                fates["hanging"] -= 1
        return STORED

    monkeypatch.setattr(copying, "_transfer", transfer)
    return fates


async def test_a_source_that_drips_for_ever_loses_its_place(
    transfers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "COPY_LONGEST_S", 0.01)
    transfers["https://out/0"] = None
    ctx = context()
    async with asyncio.timeout(20):
        (trouble,) = await copy_missing(ctx, claim())
    assert (trouble.index, trouble.missing) == (0, False)
    assert not ctx.copies.locked()


async def test_a_full_disk_is_trouble_of_the_way_and_no_crash(transfers: dict[str, Any]) -> None:
    transfers["https://out/1"] = OSError(errno.ENOSPC, "No space left on device")
    (trouble,) = await copy_missing(context(), claim())
    assert (trouble.index, trouble.missing) == (1, False)
    assert "No space left" in trouble.message


async def test_a_lost_lease_ends_the_copies_beside_it(transfers: dict[str, Any]) -> None:
    transfers["https://out/1"] = None
    with pytest.raises(StaleLeaseError):
        await copy_missing(context(Moved.STALE), claim())
    assert transfers["hanging"] == 0


async def test_trouble_says_whether_the_bucket_is_in_the_way(transfers: dict[str, Any]) -> None:
    transfers["https://out/0"] = StorageRefusedError("no such bucket", status=404, s3_code="NoSuchBucket")
    transfers["https://out/1"] = OutputMissingError("404", status=404)
    troubles = await copy_missing(context(), claim())
    assert [(trouble.index, trouble.bucket, trouble.missing) for trouble in troubles] == [
        (0, True, False),
        (1, False, True),
    ]
