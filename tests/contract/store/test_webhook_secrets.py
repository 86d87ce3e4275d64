"""A tenant's webhook secrets: made, changed over with an overlap, revoked; and whom to tell by default."""

import pytest

from darkroom.jobs import Webhook
from darkroom.store import keys
from darkroom.store.jobs import ConflictError
from darkroom.store.webhook_secrets import MOST_SECRETS, WebhookSecrets
from tests.support.stores import HOOK, HOUR_MS, Store

OPERATORS = ["whsec_b3BlcmF0b3I="]
DAY_S = 86_400


async def signing(store: Store, tenant: str = "a") -> list[str]:
    """Give what a delivery of a tenant's is signed with now."""
    job_id = await store.post(tenant, webhook=HOOK)
    await store.jobs.cancel(job_id)
    [(delivery_id, record)] = await store.deliveries.of_job((await store.read(job_id)).job)
    claimed = await store.deliveries.claim(delivery_id, record["lease"], lease_ms=HOUR_MS)
    assert claimed is not None
    assert "whsec" not in repr(claimed)
    return claimed.signed_with(OPERATORS)


async def test_without_secrets_of_its_own_the_operators_sign(store: Store) -> None:
    assert await signing(store) == OPERATORS
    assert await WebhookSecrets(store.redis).list("a") == ([], None)


async def test_beside_the_first_one_the_operators_sign_through_the_overlap(store: Store) -> None:
    secrets = WebhookSecrets(store.redis)
    first = await secrets.rotate("a", overlap_s=DAY_S)
    assert await signing(store) == [first.secret, *OPERATORS]
    assert await signing(store, "b") == OPERATORS
    [known], operators_ms = await secrets.list("a")
    assert (known.secret_id, known.hint, known.ends_ms) == (first.secret_id, first.secret[-4:], None)
    assert operators_ms == first.created_ms + DAY_S * 1000
    store.client.hset(keys.secrets("a"), "operator_until_ms", 1)
    assert await signing(store) == [first.secret]
    assert (await secrets.list("a"))[1] is None


async def test_the_one_before_signs_through_the_overlap_and_no_longer(store: Store) -> None:
    secrets = WebhookSecrets(store.redis)
    first = await secrets.rotate("a", overlap_s=0)
    second = await secrets.rotate("a", overlap_s=DAY_S)
    assert await signing(store) == [second.secret, first.secret]
    third = await secrets.rotate("a", overlap_s=0)
    assert await signing(store) == [third.secret]


async def test_an_overlap_is_never_made_longer_by_the_next_rotation(store: Store) -> None:
    secrets = WebhookSecrets(store.redis)
    first = await secrets.rotate("a", overlap_s=0)
    second = await secrets.rotate("a", overlap_s=60)
    await secrets.rotate("a", overlap_s=DAY_S)
    ends = {known.secret_id: known.ends_ms for known in (await secrets.list("a"))[0]}
    assert ends[first.secret_id] == second.created_ms + 60_000


async def test_a_revoked_one_signs_nothing_and_after_the_last_the_operators_sign_again(store: Store) -> None:
    secrets = WebhookSecrets(store.redis)
    first = await secrets.rotate("a", overlap_s=0)
    second = await secrets.rotate("a", overlap_s=DAY_S)
    assert not await secrets.revoke("b", second.secret_id)
    assert await secrets.revoke("a", second.secret_id)
    assert await signing(store) == [first.secret]
    assert await secrets.revoke("a", first.secret_id)
    assert not await secrets.revoke("a", first.secret_id)
    assert await signing(store) == OPERATORS
    assert store.client.exists(keys.secrets("a")) == 0


async def test_no_more_than_ten_sign_at_once(store: Store) -> None:
    secrets = WebhookSecrets(store.redis)
    made = [await secrets.rotate("a", overlap_s=DAY_S) for _ in range(MOST_SECRETS)]
    with pytest.raises(ConflictError, match="revoke some"):
        await secrets.rotate("a", overlap_s=DAY_S)
    assert len((await secrets.list("a"))[0]) == MOST_SECRETS
    assert len({item.secret for item in made}) == MOST_SECRETS
    newest = await secrets.rotate("a", overlap_s=0)
    assert await signing(store) == [newest.secret]


async def test_jobs_that_name_nobody_tell_the_default(store: Store) -> None:
    secrets = WebhookSecrets(store.redis)
    assert await secrets.default_webhook("a") is None
    default = Webhook(url="https://example.com/default", events=["job.canceled"])
    assert await secrets.set_default_webhook("a", default)
    assert await secrets.default_webhook("a") == default
    told = {}
    for tenant, hook in (("a", None), ("a", HOOK), ("b", None)):
        job_id = await store.post(tenant, webhook=hook)
        await store.jobs.cancel(job_id)
        record = await store.read(job_id)
        told[tenant, hook is None] = [item["url"] for _, item in await store.deliveries.of_job(record.job)]
        assert record.request.get("webhook") == hook
    assert told == {("a", True): [default.url], ("a", False): [HOOK["url"]], ("b", True): []}
    assert await secrets.set_default_webhook("a", None)
    assert not await secrets.set_default_webhook("a", None)
    assert await secrets.default_webhook("a") is None


async def test_the_default_is_told_of_its_events_only(store: Store) -> None:
    await WebhookSecrets(store.redis).set_default_webhook("a", Webhook(url=HOOK["url"], events=["job.failed"]))
    job_id = await store.post("a")
    await store.jobs.cancel(job_id)
    assert store.events(job_id) == []
