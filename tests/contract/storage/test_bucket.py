"""What `Bucket` promises, on a real S3 server."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from mypy_boto3_s3 import S3Client
from pydantic import SecretStr

from darkroom.settings import StorageSettings
from darkroom.storage import Bucket, StorageRefusedError, StorageUnavailableError
from deploy.embedded.s3 import EmbeddedS3

from .conftest import Serve, always, http


def _keys(s3: S3Client, bucket: str) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


async def test_what_was_put_can_be_got_measured_and_deleted(store: Bucket) -> None:
    key = "a/2026/11/22/job_1/job.json"
    await store.put_bytes(key, b'{"id": 1}', "application/json")
    assert await store.get_bytes(key) == b'{"id": 1}'
    assert await store.head(key) == 9
    await store.delete(key)
    assert await store.get_bytes(key) is None
    assert await store.head(key) is None


async def test_an_absent_object_can_be_deleted_without_an_error(store: Bucket) -> None:
    await store.delete("never/was")


async def test_keys_with_blanks_plus_and_umlauts_name_what_boto3_names_so(store: Bucket, s3: S3Client) -> None:
    key = "prä fix/a+b/100%/00.png"
    await store.put_bytes(key, b"x", "image/png")
    assert s3.get_object(Bucket=store.name, Key=key)["Body"].read() == b"x"


async def test_the_content_type_is_kept(store: Bucket, s3: S3Client) -> None:
    await store.put_bytes("k.webp", b"x", "image/webp")
    assert s3.head_object(Bucket=store.name, Key="k.webp")["ContentType"] == "image/webp"


async def test_a_presigned_url_lets_anybody_read_and_says_until_when(store: Bucket) -> None:
    await store.put_bytes("k.png", b"pixels", "image/png")
    before = datetime.now(UTC)
    url, expires_at = store.object_url("k.png", expires_s=60)
    assert expires_at is not None
    assert before + timedelta(seconds=59) < expires_at < datetime.now(UTC) + timedelta(seconds=61)
    async with aiohttp.ClientSession() as anybody, anybody.get(url) as response:
        assert (response.status, await response.read()) == (200, b"pixels")


async def test_the_server_refuses_the_same_url_unsigned(store: Bucket) -> None:
    await store.put_bytes("k.png", b"pixels", "image/png")
    url, _ = store.object_url("k.png")
    async with aiohttp.ClientSession() as anybody, anybody.get(url.partition("?")[0]) as response:
        assert response.status in (400, 403)  # rclone says 400, AWS 403


async def test_check_passes_on_a_bucket_that_is_there(store: Bucket) -> None:
    await store.check()


async def test_check_names_a_missing_bucket_and_does_not_create_it(
    settings: StorageSettings, session: aiohttp.ClientSession, s3: S3Client
) -> None:
    missing = Bucket(settings.model_copy(update={"bucket": "no-such-bucket"}), session=session)
    with pytest.raises(StorageRefusedError, match=r"no-such-bucket .* 404: it does not exist.*DARKROOM_S3_BUCKET"):
        await missing.check()
    assert "no-such-bucket" not in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]


@pytest.mark.parametrize("call", ["get_bytes", "delete"])
async def test_a_missing_bucket_is_not_taken_for_a_missing_object(
    call: str, settings: StorageSettings, session: aiohttp.ClientSession
) -> None:
    missing = Bucket(settings.model_copy(update={"bucket": "no-such-bucket"}), session=session)
    with pytest.raises(StorageRefusedError) as caught:
        await getattr(missing, call)("k")
    assert caught.value.s3_code == "NoSuchBucket"


async def test_check_names_wrong_credentials(settings: StorageSettings, session: aiohttp.ClientSession) -> None:
    wrong = settings.model_copy(update={"secret_access_key": SecretStr("not-the-secret")})
    with pytest.raises(StorageRefusedError, match="AWS_ACCESS_KEY_ID") as caught:
        await Bucket(wrong, session=session).check()
    assert caught.value.status == 403


async def test_check_names_an_endpoint_that_nobody_answers(
    settings: StorageSettings, session: aiohttp.ClientSession, unused_tcp_port: int
) -> None:
    gone = settings.model_copy(update={"endpoint_url": f"http://127.0.0.1:{unused_tcp_port}"})
    with pytest.raises(StorageUnavailableError, match=f"127.0.0.1:{unused_tcp_port} can't be reached") as caught:
        await Bucket(gone, session=session).check()
    assert not isinstance(caught.value, StorageRefusedError)
    assert caught.value.delay_s > 0


async def test_the_embedded_stack_can_create_its_bucket_twice(
    settings: StorageSettings, session: aiohttp.ClientSession, s3: S3Client
) -> None:
    fresh = Bucket(settings.model_copy(update={"bucket": "made-by-us"}), session=session)
    await fresh.create_if_missing()
    await fresh.create_if_missing()
    await fresh.put_bytes("k", b"x", "text/plain")
    assert _keys(s3, "made-by-us") == ["k"]


async def test_the_s3_error_code_is_told_but_never_the_signature(
    settings: StorageSettings, session: aiohttp.ClientSession
) -> None:
    wrong = settings.model_copy(update={"secret_access_key": SecretStr("not-the-secret")})
    with pytest.raises(StorageRefusedError) as caught:
        await Bucket(wrong, session=session).put_bytes("k", b"x", "text/plain")
    assert caught.value.s3_code == "SignatureDoesNotMatch"
    assert "X-Amz" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_no_traceback_of_a_failure_holds_a_signed_url(
    store: Bucket, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def times_out(_method: str, url: object, **_: object) -> None:
        raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {url}")  # as aiohttp words it

    monkeypatch.setattr(type(session), "request", lambda _self, *args, **named: times_out(*args, **named))
    with pytest.raises(StorageUnavailableError) as caught:
        await store.put_bytes("k", b"x", "text/plain")
    assert "X-Amz" not in "".join(traceback.format_exception(caught.value))


async def test_a_busy_bucket_is_retryable_after_the_time_it_asks_for(
    settings: StorageSettings, session: aiohttp.ClientSession, serve: Serve
) -> None:
    body = b"<Error><Code>SlowDown</Code></Error>"
    address = await serve(always(http(body, "Retry-After: 17", status="503 Slow Down")))
    busy = settings.model_copy(update={"endpoint_url": address.removesuffix("/signed/secret-name")})
    with pytest.raises(StorageUnavailableError, match="503 SlowDown") as caught:
        await Bucket(busy, session=session).put_bytes("k", b"x", "text/plain")
    assert caught.value.delay_s == 17
    assert not isinstance(caught.value, StorageRefusedError)


async def test_a_bucket_that_takes_no_more_bytes_counts_as_unavailable(
    settings: StorageSettings, session: aiohttp.ClientSession, serve: Serve
) -> None:
    reached = asyncio.Event()
    over = asyncio.Event()

    async def never_reads(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        reached.set()
        await over.wait()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1024):
            yield bytes(2**20)

    address = await serve(never_reads)
    stuck = settings.model_copy(update={"endpoint_url": address.removesuffix("/signed/secret-name")})
    bucket = Bucket(stuck, session=session, stall_timeout_s=0.3)
    try:
        with pytest.raises(StorageUnavailableError, match="no answer in time"):
            await bucket.put_stream("k", endless(), 2**30, "image/png")
    finally:
        over.set()
    assert reached.is_set()


async def test_a_put_broken_off_stores_nothing_and_keeps_what_was_there(store: Bucket, s3: S3Client) -> None:
    await store.put_bytes("there.png", b"whole", "image/png")

    async def breaks() -> AsyncIterator[bytes]:
        yield bytes(2**20)
        raise RuntimeError("the source broke")

    for key in ("there.png", "new.png"):
        with pytest.raises(StorageUnavailableError):
            await store.put_stream(key, breaks(), 2**21, "image/png")
    assert _keys(s3, store.name) == ["there.png"]
    assert await store.get_bytes("there.png") == b"whole"


async def test_the_bucket_works_again_after_the_server_was_killed_and_restarted(
    store: Bucket, s3_server: EmbeddedS3
) -> None:
    await store.put_bytes("k", b"x", "text/plain")
    s3_server.kill()
    with pytest.raises(StorageUnavailableError):
        await store.put_bytes("k", b"y", "text/plain")
    s3_server.start()
    await store.put_bytes("k", b"z", "text/plain")
    assert await store.get_bytes("k") == b"z"
