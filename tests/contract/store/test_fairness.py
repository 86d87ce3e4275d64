"""Turns are shared by images: neither leaving the line, nor coming back, nor one's name gets anybody more."""

from collections import Counter

from darkroom.store import keys
from darkroom.store.attempts import Ticket
from tests.support.stores import Store


async def go(store: Store) -> tuple[Ticket, str]:
    """Let the next job go, with no limit in the way, and give its ticket and tenant."""
    [ticket] = (await store.admit(1)).tickets
    await store.begin(ticket)
    await store.accept(ticket, f"p-{ticket.job_id}")
    store.pass_the_window()
    return ticket, (await store.read(ticket.job_id)).tenant


async def test_tenant_that_posts_heavy_jobs_one_at_a_time_gets_no_more_than_its_share(store: Store) -> None:
    for _ in range(20):
        await store.post("many")
    images: Counter[str] = Counter()
    await store.post("heavy", max_images=4)
    while images.total() < 24:
        _, tenant = await go(store)
        images[tenant] += 4 if tenant == "heavy" else 1
        if tenant == "heavy":
            await store.post("heavy", max_images=4)
    assert images == {"many": 12, "heavy": 12}


async def test_flow_that_empties_each_time_gets_no_more_than_its_share_of_its_tenant(store: Store) -> None:
    await store.post("a", priority="low", max_images=15)
    for _ in range(3):
        await store.post("a")
    flows, left = keys.flows("a", "normal"), keys.left_flows("a", "normal")
    store.client.rename(keys.flow("a", "-", "normal"), keys.flow("a", "batch_1", "normal"))
    store.client.zadd(flows, {"batch_1": 7})
    store.client.zrem(flows, "-")
    for job_id in store.client.zrange(keys.flow("a", "batch_1", "normal"), 0, -1):
        store.client.hset(keys.job(str(job_id)), "batch", "batch_1")
    loose = await store.post("a", max_images=4)
    [ticket] = (await store.admit(1)).tickets
    assert ticket.job_id == loose
    assert store.cell().at(left) == {"-": 11}
    await store.post("a", max_images=4)
    assert store.cell().at(flows) == {"batch_1": 7, "-": 11}
    await store.admit()
    assert store.cell().at(left) == {}


async def test_who_has_left_is_forgotten_once_nobody_waits(store: Store) -> None:
    await store.post("a", max_images=4)
    await store.post("b")
    await go(store)
    assert store.cell().at(keys.LEFT) == {"a": 4}
    await go(store)
    assert keys.LEFT not in store.cell().values
    await store.post("a")
    assert store.cell().at(keys.TURNS) == {"a": 0}


async def test_who_has_left_is_forgotten_once_others_have_had_as_much(store: Store) -> None:
    await store.post("a", max_images=2)
    for _ in range(3):
        await store.post("b")
    for _ in range(2):
        await go(store)
        assert store.cell().at(keys.LEFT) == {"a": 2}
    await store.post("c")
    await go(store)
    await go(store)
    assert "a" not in store.cell().at(keys.LEFT)


async def test_job_that_returns_unsent_gets_its_turn_again(store: Store) -> None:
    heavy = await store.post("a", max_images=15)
    await store.post("a", max_images=15)
    for _ in range(3):
        await store.post("b")
    for returned in ("unadmitted", "never_left", "not_now"):
        [ticket] = (await store.admit(1)).tickets
        assert ticket.job_id == heavy, returned
        if returned == "unadmitted":
            await store.attempts.unadmit([ticket])
        else:
            await store.begin(ticket)
            await store.attempts.returned(ticket, returned)
        store.pass_the_window()
    assert store.cell().at(keys.TURNS) == {"a": 0, "b": 0}


async def test_turn_of_a_job_canceled_before_it_was_sent_is_given_back(store: Store) -> None:
    await store.post("b")
    for _ in range(2):
        await store.post("a", max_images=15)
    [ticket] = (await store.admit(1)).tickets
    await store.jobs.cancel(ticket.job_id)
    assert store.cell().at(keys.TURNS) == {"a": 0, "b": 0}


async def test_turn_given_back_takes_nothing_from_what_others_had_meanwhile(store: Store) -> None:
    for _ in range(6):
        await store.post("a")
    tickets = (await store.admit(4)).tickets
    for _ in range(3):
        await store.post("b")
    await store.attempts.unadmit(tickets)
    assert sorted([(await go(store))[1] for _ in range(4)]) == ["a", "a", "b", "b"]


async def test_turn_is_given_back_to_a_tenant_that_has_left(store: Store) -> None:
    await store.post("b")
    await store.post("b")
    await store.post("a", max_images=4)
    [ticket] = (await store.admit(1)).tickets
    await store.attempts.unadmit([ticket])
    assert store.cell().at(keys.TURNS) == {"a": 0, "b": 0}
    assert keys.LEFT not in store.cell().values


async def test_name_gets_nobody_ahead_by_more_than_one_job(store: Store) -> None:
    for _ in range(12):
        await store.post("z")
    await store.post("a")
    had: Counter[str] = Counter()
    for _ in range(12):
        _, tenant = await go(store)
        had[tenant] += 1
        if tenant == "a":
            await store.post("a")
        assert abs(had["a"] - had["z"]) <= 1
