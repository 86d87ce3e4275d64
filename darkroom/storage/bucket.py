"""The bucket as a port: put, get, head and delete by presigned requests on the caller's asyncio loop.

Every failure becomes `StorageUnavailableError` (try later) or `StorageRefusedError` (the operator must mend it);
neither holds a signed URL, which is why causes are cut off: aiohttp's own texts carry whole URLs.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote

import aiohttp

from darkroom.checkpoints import Checkpoint, reach
from darkroom.settings import StorageSettings
from darkroom.storage.errors import StorageRefusedError, StorageUnavailableError
from darkroom.storage.signer import MAX_EXPIRES_S, Signer

CONNECT_TIMEOUT_S = 10.0
STALL_TIMEOUT_S = 30.0
REQUEST_EXPIRES_S = 900
MAX_OBJECT_READ_BYTES = 64 * 2**20

_S3_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_HINTS = {
    301: "it is in another region: set DARKROOM_S3_REGION and DARKROOM_S3_ENDPOINT_URL to match",
    307: "it is in another region: set DARKROOM_S3_REGION",
    400: "the request does not suit it: check DARKROOM_S3_REGION and DARKROOM_S3_ADDRESSING",
    401: "the credentials are not accepted: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    403: "the credentials are wrong, lack the right, or this machine's clock is off: check AWS_ACCESS_KEY_ID and its "
    "rights (s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject)",
    404: "it does not exist: create it or set DARKROOM_S3_BUCKET",
}


def bucket_session(*, connections: int = 64) -> aiohttp.ClientSession:
    """Open a session for the bucket's own endpoint, which is trusted as configured; the caller closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


class _Answer(NamedTuple):
    body: bytes
    size_bytes: int


class Bucket:
    """One bucket. Holds no connection of its own; safe for any number of tasks of one loop."""

    def __init__(
        self,
        settings: StorageSettings,
        *,
        session: aiohttp.ClientSession,
        stall_timeout_s: float = STALL_TIMEOUT_S,
    ) -> None:
        """Prepare signing.

        Raises:
            ConfigurationError: no credentials, or an endpoint that makes no sense.
        """
        self.name = settings.bucket
        self._signer = Signer(settings)
        self._session = session
        self._public_url = settings.public_url
        self._stall_timeout_s = stall_timeout_s

    async def check(self) -> None:
        """Ask whether the bucket is there and may be used; never creates it.

        Raises:
            StorageUnavailableError: it can't be reached or, as `StorageRefusedError`, it is missing or refuses.
        """
        await self._request("HEAD", "")

    async def create_if_missing(self) -> None:
        """Create the bucket unless it exists: for the embedded stack only."""
        try:
            await self.check()
        except StorageRefusedError as error:
            if error.status != 404:
                raise
            await self._request("PUT", "")

    async def put_bytes(self, key: str, data: bytes, content_type: str) -> None:
        """Store an object that is in memory; repeating it is harmless."""
        await self._request("PUT", key, data=data, headers={"Content-Type": content_type})

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], size_bytes: int, content_type: str) -> None:
        """Store an object of exactly `size_bytes` as its chunks come; an exception from `chunks` breaks it off.

        A request broken off stores nothing, and leaves what the key held before. Waiting for `chunks` is the source's
        matter; a bucket that does not take a chunk, or does not answer, within the stall time counts as unavailable.
        """
        headers = {"Content-Type": content_type, "Content-Length": str(size_bytes)}
        await self._request("PUT", key, data=chunks, headers=headers)

    async def get_bytes(self, key: str) -> bytes | None:
        """Read a small object (64 MiB at most); None where there is none."""
        answer = await self._request("GET", key, absent_is_none=True)
        return answer.body if answer else None

    async def head(self, key: str) -> int | None:
        """Give an object's size in bytes; None where there is none."""
        answer = await self._request("HEAD", key, absent_is_none=True)
        return answer.size_bytes if answer else None

    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there counts as removed."""
        await self._request("DELETE", key, absent_is_none=True)

    async def renew_credentials(self) -> None:
        """Renew temporary credentials that are due without blocking the loop; call before `object_url`."""
        await self._signer.renew()

    def object_url(self, key: str, *, expires_s: int = MAX_EXPIRES_S) -> tuple[str, datetime | None]:
        """Give an object's URL and its end: public and endless where the bucket is public, else presigned.

        At most 7 days; no longer than temporary credentials live where that is known.
        """
        if self._public_url is not None:
            return f"{self._public_url}/{quote(key, safe='/~')}", None
        lasting_s = min(expires_s, MAX_EXPIRES_S)
        expires_at = self._signer.expiry(lasting_s)
        return str(self._signer.sign("GET", key, expires_s=lasting_s)), expires_at

    async def _request(
        self,
        method: str,
        key: str,
        *,
        data: bytes | AsyncIterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
        absent_is_none: bool = False,
    ) -> _Answer | None:
        await self._signer.renew()
        url = self._signer.sign(method, key, expires_s=REQUEST_EXPIRES_S)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=self._stall_timeout_s)
        try:
            async with asyncio.timeout(None) as watchdog:
                body = data if data is None or isinstance(data, bytes) else self._watched(key, data, watchdog)
                async with self._session.request(
                    method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
                ) as response:
                    if response.status >= 300:
                        failure = await self._failure(method, response)
                        if absent_is_none and _says_no_such_key(failure):
                            return None
                        raise failure
                    return _Answer(await self._body(response), response.content_length or 0)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise StorageUnavailableError(
                f"bucket {self.name} at {self._signer.endpoint} can't be reached ({_kind(error)})", delay_s=5
            ) from None

    async def _watched(self, key: str, chunks: AsyncIterator[bytes], watchdog: asyncio.Timeout) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        async for chunk in chunks:
            watchdog.reschedule(loop.time() + self._stall_timeout_s)
            yield chunk
            reach(Checkpoint.STORE_MID_UPLOAD, key)
            watchdog.reschedule(None)
        watchdog.reschedule(loop.time() + self._stall_timeout_s)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_OBJECT_READ_BYTES:
                raise StorageUnavailableError(f"an object of bucket {self.name} is too large to read at once")
        return bytes(body)

    async def _failure(self, method: str, response: aiohttp.ClientResponse) -> StorageUnavailableError:
        status = response.status
        found = _S3_CODE.search(await response.content.read(4096)) if method != "HEAD" else None
        code = found.group(1).decode() if found else None
        said = f"{status} {code}" if code else str(status)
        where = f"bucket {self.name} at {self._signer.endpoint}"
        if status in (408, 425, 429) or status >= 500 or code in ("SlowDown", "RequestTimeout"):
            return StorageUnavailableError(f"{where} answers {said}", delay_s=_retry_after_s(response))
        hint = _HINTS.get(status, "it refuses the request")
        return StorageRefusedError(f"{where} answers {said}: {hint}", status=status, s3_code=code)


def _says_no_such_key(failure: StorageUnavailableError) -> bool:
    # A HEAD has no body and can't say which of the two is missing: a missing bucket shows at the next put.
    return isinstance(failure, StorageRefusedError) and failure.status == 404 and failure.s3_code != "NoSuchBucket"


def _retry_after_s(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(max(float(text), 1.0), 300.0) if text.isascii() and text.isdigit() else 5.0


def _kind(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"connecting failed: {error.strerror or type(error.os_error).__name__}"
    return type(error).__name__
