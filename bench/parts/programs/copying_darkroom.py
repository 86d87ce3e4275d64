"""Copies through the service's own copy path, so many at once."""

import asyncio

from bench.parts.programs.telling import Taking, task
from darkroom.network import guarded_session, policy_for_upstream
from darkroom.settings import StorageSettings
from darkroom.storage.bucket import Bucket, bucket_session
from darkroom.storage.copy import copy_url


async def main() -> None:
    """Copy each source to its key; the credentials are in the environment."""
    given = task()
    settings = StorageSettings.model_validate(
        {
            "DARKROOM_S3_BUCKET": given["bucket"],
            "DARKROOM_S3_ENDPOINT_URL": given["endpoint_url"],
            "DARKROOM_S3_REGION": given["region"],
            "DARKROOM_S3_ADDRESSING": "path",
        }
    )
    places = asyncio.Semaphore(given["at_once"])
    policy = await policy_for_upstream(given["upstream_url"])
    async with (
        guarded_session(policy, connections=given["at_once"]) as sources,
        bucket_session(connections=2 * given["at_once"]) as session,
    ):
        bucket = Bucket(settings, session=session)

        async def copy(url: str, key: str) -> None:
            async with places:
                await copy_url(url, bucket=bucket, source_session=sources, key_for=lambda _: key)

        await asyncio.gather(*(copy(url, key) for url, key in given["warm_up"]))
        with Taking() as taking:
            await asyncio.gather(*(copy(url, key) for url, key in given["copies"]))
    taking.tell(len(given["copies"]))


asyncio.run(main())
