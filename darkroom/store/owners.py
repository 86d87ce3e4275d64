"""Whose a prediction is: every one that was recorded has one owner, for as long as upstream lists it."""

from collections.abc import Sequence

from redis.asyncio import Redis

from darkroom.store import keys

KEEP_OWNED_DAYS = 9
"""How long it is known which predictions were compacted jobs'; the same as in `_1_base.lua`."""

COMPACTED = "compacted:0"
"""Stands for the owner of a prediction whose job is compacted."""


async def owners_of(redis: Redis, prediction_ids: Sequence[str]) -> dict[str, str]:
    """Give the owners (`job:attempt`, or `COMPACTED`) of those predictions that have one.

    Raises redis' errors, which are retryable.
    """
    if not prediction_ids:
        return {}
    named = await redis.mget([keys.prediction(item) for item in prediction_ids])
    owners = {item: str(owner) for item, owner in zip(prediction_ids, named, strict=True) if owner}
    others = [item for item in prediction_ids if item not in owners]
    if not others:
        return owners
    # asked after the owners: a prediction moves from there to here, in one step
    today = (await redis.time())[0] // 86_400
    pipe = redis.pipeline(transaction=False)
    for day in range(today, today - KEEP_OWNED_DAYS - 1, -1):
        pipe.smismember(keys.owned(day), others)
    for known in await pipe.execute():
        owners |= {item: COMPACTED for item, is_owned in zip(others, known, strict=True) if is_owned}
    return owners
