"""Listing: newest first, page by page, and nothing that is gone."""

from darkroom.ids import id_time_ms
from darkroom.store import keys
from darkroom.store.listing import JobFilter, list_jobs
from tests.support.stores import Store


async def all_pages(store: Store, wanted: JobFilter, limit: int) -> list[str]:
    """Follow the cursor to the end."""
    found: list[str] = []
    cursor = None
    while True:
        page, cursor = await list_jobs(store.jobs, wanted, limit=limit, cursor=cursor)
        found += [record.job_id for record in page]
        if cursor is None:
            return found


async def test_pages_join_to_the_whole_newest_first(store: Store) -> None:
    posted = [await store.post() for _ in range(7)]
    await store.jobs.cancel(posted[3])
    assert await all_pages(store, JobFilter(tenant="a"), 3) == posted[::-1]


async def test_tenant_sees_its_own_jobs_and_an_operator_all(store: Store) -> None:
    mine, other = await store.post("a"), await store.post("b")
    assert await all_pages(store, JobFilter(tenant="a"), 10) == [mine]
    assert await all_pages(store, JobFilter(), 10) == [other, mine]


async def test_filters_narrow_the_list(store: Store) -> None:
    waiting = await store.post(metadata={"order": "1"}, custom_id="c")
    canceled = await store.post(metadata={"order": "2"})
    await store.jobs.cancel(canceled)
    assert await all_pages(store, JobFilter(tenant="a", status="canceled"), 10) == [canceled]
    assert await all_pages(store, JobFilter(tenant="a", custom_id="c"), 10) == [waiting]
    assert await all_pages(store, JobFilter(tenant="a", metadata={"order": "2"}), 10) == [canceled]
    assert await all_pages(store, JobFilter(tenant="a", batch_id="batch_x"), 10) == []


async def test_times_bound_the_list(store: Store) -> None:
    job_id = await store.post()
    made_ms = id_time_ms(job_id)
    assert await all_pages(store, JobFilter(tenant="a", created_after_ms=made_ms), 10) == [job_id]
    assert await all_pages(store, JobFilter(tenant="a", created_before_ms=made_ms), 10) == []
    assert await all_pages(store, JobFilter(tenant="a", created_before_ms=made_ms + 1), 10) == [job_id]
    assert await all_pages(store, JobFilter(tenant="a", created_after_ms=made_ms + 1), 10) == []


async def test_listing_leaves_out_and_forgets_jobs_that_are_gone(store: Store) -> None:
    gone, kept = await store.post(), await store.post()
    for job_id in (gone, kept):
        await store.jobs.cancel(job_id)
    store.let_expire(gone)
    assert await all_pages(store, JobFilter(tenant="a"), 1) == [kept]
    assert list(store.cell().at(keys.index("a", "canceled"))) == [kept]


async def test_reading_many_leaves_out_those_that_are_gone(store: Store) -> None:
    job_id = await store.post()
    assert [record.job_id for record in await store.jobs.read_many([job_id, "job_none"])] == [job_id]
    assert await store.jobs.read_many([]) == []
