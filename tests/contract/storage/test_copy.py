"""What copying an output promises, from a source that misbehaves into a real S3 server."""

import asyncio
import gzip
import hashlib
import traceback
from pathlib import Path

import aiohttp
import pytest
from mypy_boto3_s3 import S3Client
from pydantic import SecretStr

from darkroom.errors import PermanentError
from darkroom.network import AddressPolicy, AddressRefusedError, guarded_session
from darkroom.settings import StorageSettings
from darkroom.storage import (
    Bucket,
    CopyLimits,
    OutputInvalidError,
    OutputMissingError,
    OutputTooLargeError,
    SourceUnavailableError,
    StorageRefusedError,
    StorageUnavailableError,
    StoredObject,
    copy_file,
    copy_url,
)

from .conftest import Serve, always, http, picture

TYPES = {"PNG": ("image/png", "png"), "JPEG": ("image/jpeg", "jpg"), "WEBP": ("image/webp", "webp")}


def _key(extension: str) -> str:
    return f"job_1/00.{extension}"


def _keys(s3: S3Client, bucket: str) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def _check_stored(stored: StoredObject, body: bytes, s3: S3Client, bucket: str) -> None:
    assert stored.size_bytes == len(body)
    assert stored.sha256 == hashlib.sha256(body).hexdigest()
    found = s3.get_object(Bucket=bucket, Key=stored.key)
    assert found["Body"].read() == body
    assert found["ContentType"] == stored.content_type


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("side", [(32, 24), (640, 480)], ids=["buffered", "streamed"])
async def test_an_output_arrives_whole_and_is_described_by_its_content(
    kind: str, side: tuple[int, int], store: Bucket, source_session: aiohttp.ClientSession, serve: Serve, s3: S3Client
) -> None:
    body = picture(kind, *side)
    url = await serve(always(http(body, "Content-Type: text/plain")))
    stored = await copy_url(url + ".gif", bucket=store, source_session=source_session, key_for=_key)
    content_type, extension = TYPES[kind]
    assert (stored.content_type, stored.key) == (content_type, f"job_1/00.{extension}")
    assert (stored.width, stored.height) == side
    _check_stored(stored, body, s3, store.name)


async def test_a_jpeg_whose_size_comes_late_in_its_head_is_still_measured(
    store: Bucket, source_session: aiohttp.ClientSession, serve: Serve, s3: S3Client
) -> None:
    plain = picture("JPEG")
    comments = (b"\xff\xfe\xff\xff" + bytes(0xFFFD)) * 2
    body = plain[:2] + comments + plain[2:]
    assert len(body) > 256 * 1024, "too small to be streamed"
    stored = await copy_url(await serve(always(http(body))), bucket=store, source_session=source_session, key_for=_key)
    assert (stored.width, stored.height) == (640, 480)
    _check_stored(stored, body, s3, store.name)


@pytest.mark.parametrize("how", ["chunked", "gzip", "until close"])
async def test_a_body_without_a_plain_length_is_stored_all_the_same(
    how: str, store: Bucket, source_session: aiohttp.ClientSession, serve: Serve, s3: S3Client
) -> None:
    body = picture("PNG")
    if how == "chunked":
        framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        answer = http(framed, "Transfer-Encoding: chunked", length=None)
    elif how == "gzip":
        answer = http(gzip.compress(body, 1), "Content-Encoding: gzip")
    else:
        answer = http(body, length=None)
    stored = await copy_url(await serve(always(answer)), bucket=store, source_session=source_session, key_for=_key)
    assert (stored.width, stored.height) == (640, 480)
    _check_stored(stored, body, s3, store.name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("how", ["length", "length, small", "chunked", "until close"])
async def test_a_source_that_breaks_off_leaves_no_object_behind(
    how: str, kind: str, store: Bucket, source_session: aiohttp.ClientSession, serve: Serve, s3: S3Client
) -> None:
    body = picture(kind, *((64, 48) if "small" in how else (640, 480)))
    half = body[: len(body) // 2]
    if how == "chunked":
        answer = http(b"%x\r\n%b" % (len(body), half), "Transfer-Encoding: chunked", length=None)
    elif how == "until close":
        answer = http(half, length=None)
    else:
        answer = http(half, length=len(body))
    url = await serve(always(answer))
    with pytest.raises(SourceUnavailableError) as caught:
        await copy_url(url, bucket=store, source_session=source_session, key_for=_key)
    assert "secret-name" not in "".join(traceback.format_exception(caught.value))
    assert _keys(s3, store.name) == []


async def test_a_source_that_breaks_off_leaves_an_earlier_whole_copy_alone(
    store: Bucket, source_session: aiohttp.ClientSession, serve: Serve, s3: S3Client
) -> None:
    body = picture("PNG")
    whole, broken = await serve(always(http(body))), await serve(always(http(body[:-9], length=len(body))))
    stored = await copy_url(whole, bucket=store, source_session=source_session, key_for=_key)
    with pytest.raises(SourceUnavailableError):
        await copy_url(broken, bucket=store, source_session=source_session, key_for=_key)
    _check_stored(stored, body, s3, store.name)


async def test_a_source_that_stalls_is_given_up_and_leaves_no_object(
    store: Bucket, source_session: aiohttp.ClientSession, serve: Serve, s3: S3Client
) -> None:
    body = picture("PNG")
    over = asyncio.Event()

    async def stalls(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(body[:-1], length=len(body)))
        await writer.drain()
        await over.wait()

    url = await serve(stalls)
    limits = CopyLimits(stall_timeout_s=0.3)
    try:
        with pytest.raises(SourceUnavailableError, match="SocketTimeoutError"):
            await copy_url(url, bucket=store, source_session=source_session, key_for=_key, limits=limits)
    finally:
        over.set()
    assert _keys(s3, store.name) == []


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden", "410 Gone", "400 Bad Request"])
async def test_an_output_that_is_not_there_is_told_apart_from_a_failing_source(
    status: str, store: Bucket, source_session: aiohttp.ClientSession, serve: Serve
) -> None:
    url = await serve(always(http(b"no", status=status)))
    with pytest.raises(OutputMissingError) as caught:
        await copy_url(url, bucket=store, source_session=source_session, key_for=_key)
    assert caught.value.status == int(status[:3])


@pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "429 Slow", "408 Late"])
async def test_a_failing_source_is_worth_another_try(
    status: str, store: Bucket, source_session: aiohttp.ClientSession, serve: Serve
) -> None:
    url = await serve(always(http(b"<html>", status=status)))
    with pytest.raises(SourceUnavailableError, match=status[:3]):
        await copy_url(url, bucket=store, source_session=source_session, key_for=_key)


@pytest.mark.parametrize("target", ["https://[a]@/", "https://[::1/", "https://example.com:99999/"])
async def test_a_source_that_redirects_to_what_is_no_url_is_worth_another_try(
    target: str, store: Bucket, source_session: aiohttp.ClientSession, serve: Serve
) -> None:
    url = await serve(always(http(b"", f"Location: {target}", status="302 Found")))
    with pytest.raises(SourceUnavailableError):
        await copy_url(url, bucket=store, source_session=source_session, key_for=_key)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html><body>Sign in</body></html>", "text/html"),
        (b'{"error": "gone"}', "application/json"),
        (b"GIF89a" + bytes(600), "image/gif"),
        (b"", "nothing"),
        (bytes(400_000), "data"),
    ],
)
async def test_what_is_no_image_is_refused_by_what_it_is(
    body: bytes, said: str, store: Bucket, source_session: aiohttp.ClientSession, serve: Serve, s3: S3Client
) -> None:
    url = await serve(always(http(body, "Content-Type: image/png")))
    with pytest.raises(OutputInvalidError, match=said):
        await copy_url(url, bucket=store, source_session=source_session, key_for=_key)
    assert _keys(s3, store.name) == []


@pytest.mark.parametrize("announced", [True, False])
async def test_an_output_past_the_bound_is_refused_for_good(
    announced: bool, store: Bucket, source_session: aiohttp.ClientSession, serve: Serve, s3: S3Client
) -> None:
    url = await serve(always(http(picture("PNG"), length=-1 if announced else None)))
    with pytest.raises(OutputTooLargeError) as caught:
        await copy_url(
            url, bucket=store, source_session=source_session, key_for=_key, limits=CopyLimits(max_bytes=500_000)
        )
    assert isinstance(caught.value, PermanentError)
    assert caught.value.code == "output_unavailable"
    assert _keys(s3, store.name) == []


async def test_a_source_that_never_ends_is_stopped_at_the_bound(
    store: Bucket, source_session: aiohttp.ClientSession, serve: Serve
) -> None:
    body = picture("PNG", 64, 48)

    async def never_ends(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(body, length=None))
        while True:
            writer.write(bytes(2**16))
            await writer.drain()

    with pytest.raises(OutputTooLargeError):
        await copy_url(
            await serve(never_ends),
            bucket=store,
            source_session=source_session,
            key_for=_key,
            limits=CopyLimits(max_bytes=500_000),
        )


async def test_a_refusing_bucket_is_not_blamed_on_the_source(
    settings: StorageSettings, session: aiohttp.ClientSession, source_session: aiohttp.ClientSession, serve: Serve
) -> None:
    wrong = Bucket(settings.model_copy(update={"secret_access_key": SecretStr("nope")}), session=session)
    url = await serve(always(http(picture("PNG", 64, 48))))
    with pytest.raises(StorageRefusedError):
        await copy_url(url, bucket=wrong, source_session=source_session, key_for=_key)


@pytest.mark.parametrize("reads_bytes", [0, 100_000])
async def test_a_bucket_that_goes_down_during_the_copy_is_not_blamed_on_the_source(
    reads_bytes: int,
    settings: StorageSettings,
    session: aiohttp.ClientSession,
    source_session: aiohttp.ClientSession,
    serve: Serve,
) -> None:
    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(reads_bytes)
        writer.transport.abort()

    endpoint = (await serve(dies)).removesuffix("/signed/secret-name")
    dying = Bucket(settings.model_copy(update={"endpoint_url": endpoint}), session=session)
    url = await serve(always(http(picture("PNG"))))
    with pytest.raises(StorageUnavailableError):
        await copy_url(url, bucket=dying, source_session=source_session, key_for=_key)


async def test_a_streamed_copy_that_the_bucket_refuses_is_the_buckets_failure(
    settings: StorageSettings, session: aiohttp.ClientSession, source_session: aiohttp.ClientSession, serve: Serve
) -> None:
    missing = Bucket(settings.model_copy(update={"bucket": "no-such-bucket"}), session=session)
    url = await serve(always(http(picture("PNG"))))
    with pytest.raises(StorageUnavailableError, match="no-such-bucket"):
        await copy_url(url, bucket=missing, source_session=source_session, key_for=_key)


async def test_a_source_at_a_private_address_is_never_connected_to(store: Bucket, serve: Serve) -> None:
    connected = asyncio.Event()

    async def notice(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        connected.set()

    url = await serve(notice)
    async with guarded_session(AddressPolicy(allow_http=True)) as strict:
        with pytest.raises(AddressRefusedError, match="loopback"):
            await copy_url(url, bucket=store, source_session=strict, key_for=_key)
    assert not connected.is_set()


async def test_a_redirected_output_is_followed_and_every_hop_is_guarded(
    store: Bucket, source_session: aiohttp.ClientSession, serve: Serve, s3: S3Client
) -> None:
    body = picture("PNG", 64, 48)
    target = await serve(always(http(body)))
    good = await serve(always(http(b"", f"Location: {target}", status="302 Found")))
    evil = await serve(always(http(b"", "Location: http://169.254.169.254/latest", status="302 Found")))
    _check_stored(await copy_url(good, bucket=store, source_session=source_session, key_for=_key), body, s3, store.name)
    with pytest.raises(AddressRefusedError, match="metadata"):
        await copy_url(evil, bucket=store, source_session=source_session, key_for=_key)


async def test_many_outputs_copied_at_once_do_not_mix(
    store: Bucket, source_session: aiohttp.ClientSession, serve: Serve, s3: S3Client
) -> None:
    bodies = [picture("PNG", 400, 300, seed=seed) for seed in range(8)]
    urls = [await serve(always(http(body))) for body in bodies]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                copy_url(url, bucket=store, source_session=source_session, key_for=f"{index:02d}.{{}}".format)
            )
            for index, url in enumerate(urls)
        ]
    for task, body in zip(tasks, bodies, strict=True):
        _check_stored(task.result(), body, s3, store.name)


@pytest.mark.parametrize("side", [(32, 24), (640, 480)], ids=["small", "large"])
async def test_a_local_file_is_copied_like_a_download(
    side: tuple[int, int], store: Bucket, tmp_path: Path, s3: S3Client
) -> None:
    body = picture("PNG", *side)
    path = tmp_path / "decoded.bin"
    path.write_bytes(body)
    stored = await copy_file(path, bucket=store, key_for=_key)
    assert (stored.width, stored.height) == side
    _check_stored(stored, body, s3, store.name)


async def test_a_local_file_that_is_no_image_is_refused(store: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "decoded.bin"
    path.write_bytes(b"not an image at all, only text")
    with pytest.raises(OutputInvalidError):
        await copy_file(path, bucket=store, key_for=_key)
