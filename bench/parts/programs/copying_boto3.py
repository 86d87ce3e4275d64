"""Copies as a task would: an httpx stream into a spooled file, then boto3's `upload_fileobj`; so many threads."""

import tempfile
from concurrent.futures import ThreadPoolExecutor

import boto3
import httpx
from botocore.config import Config

from bench.parts.programs.telling import Taking, task

SPOOL_BYTES = 8_000_000


def main() -> None:
    """Copy each source to its key; the credentials are in the environment."""
    given = task()
    at_once = given["at_once"]
    config = Config(s3={"addressing_style": "path"}, max_pool_connections=at_once)
    s3 = boto3.session.Session().client(
        "s3", config=config, endpoint_url=given["endpoint_url"], region_name=given["region"]
    )
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    with httpx.Client(timeout=60, limits=limits) as http, ThreadPoolExecutor(at_once) as pool:

        def copy(pair: list[str]) -> None:
            url, key = pair
            with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
                with http.stream("GET", url) as answer:
                    answer.raise_for_status()
                    for chunk in answer.iter_bytes():
                        spool.write(chunk)
                spool.seek(0)
                s3.upload_fileobj(spool, given["bucket"], key, ExtraArgs={"ContentType": "image/png"})

        list(pool.map(copy, given["warm_up"]))
        with Taking() as taking:
            list(pool.map(copy, given["copies"]))
    taking.tell(len(given["copies"]))


main()
