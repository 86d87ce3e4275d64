"""One attempt at one delivery: a signed POST and what became of it. Remote trouble is a value, never an exception."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, Literal

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from darkroom.network import AddressPolicy, AddressRefusedError, check_form, guarded_session
from darkroom.webhooks.signing import signed_headers

USER_AGENT = f"Darkroom/{version('darkroom-queue')}"
CONNECT_TIMEOUT_S = 5.0
EXCERPT_BYTES = 4096
EXCERPT_TIMEOUT_S = 1.0
KEEP_ALIVE_S = 3.0
"""How long an idle connection is kept: less than the 5 s after which uvicorn and Node close theirs."""

TOO_MANY_REQUESTS = 429
INTERIM_MOST = 16
"""Most 1xx answers before the real one."""

Heard = Literal["up", "failed", ""]


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What became of one attempt; `error` is None exactly when it was delivered, and never holds the URL.

    `heard` is what it says of the host, whatever it thinks of this delivery: it answered, it failed, it was not asked.
    """

    kind: Literal["delivered", "failed", "gone"]
    status_code: int | None
    duration_ms: int
    error: str | None = None
    retry_after_s: float | None = None
    heard: Heard = "up"
    response_excerpt: str = ""


class _Answer(aiohttp.ClientResponse):
    """An answer that may be announced so often and no more: without a bound 1xx answers keep the whole loop busy."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read the answer's head."""
        protocol = connection.protocol
        if protocol is None:
            raise aiohttp.ServerDisconnectedError
        read, heads = protocol.read, 0

        async def read_counted() -> Any:
            nonlocal heads
            heads += 1
            if heads > INTERIM_MOST:
                raise aiohttp.ClientPayloadError("too many answers before the answer")
            return await read()

        protocol.read = read_counted  # type: ignore[method-assign]
        try:
            return await super().start(connection)
        finally:
            protocol.read = read  # type: ignore[method-assign]


@dataclass(slots=True)
class _Wire:
    reused: bool = False


async def attempt_delivery(
    session: aiohttp.ClientSession,
    *,
    url: str,
    event_id: str,
    body: bytes,
    secrets: Sequence[str],
    timeout_s: float,
    now_s: float,
) -> AttemptResult:
    """POST the event once, without following redirects; `session` is a `webhook_session`, `now_s` is Unix time.

    2xx is delivered, 410 is gone, everything else failed. At most 4 KiB of the answer are read, for a second at most,
    and the status counts whatever becomes of the answer's body. A kept connection that breaks before an answer was
    most likely closed by the receiver in the meantime: the event is sent again at once, in the same attempt and time.

    Raises:
        ValueError: no secret, or one that is not base64: a mistake in the settings.
    """
    headers = signed_headers(event_id=event_id, body=body, secrets=secrets, now_s=now_s) | {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "Accept-Encoding": "identity",
    }
    started = time.perf_counter()
    try:
        response = await _post(session, check_form(url), body, headers, deadline=started + timeout_s)
        async with response:
            duration_ms = _since_ms(started)
            return _result(response, duration_ms, await _excerpt(response), now_s)
    except AddressRefusedError as error:
        return AttemptResult("failed", None, _since_ms(started), f"address refused: {error.reason}", heard="")
    except aiohttp.ClientConnectorDNSError as error:
        late = isinstance(error.os_error, TimeoutError)
        text = "the host's name was not looked up in time" if late else "the host's name does not resolve"
    except aiohttp.ClientConnectorCertificateError as error:
        text = f"TLS certificate not accepted: {getattr(error.certificate_error, 'verify_message', 'invalid')}"
    except aiohttp.ClientSSLError:
        text = "TLS handshake failed"
    except aiohttp.ConnectionTimeoutError:
        text = "no connection in time"
    except TimeoutError:
        text = f"no answer within {timeout_s:g} s"
    except aiohttp.ClientConnectorError as error:
        text = f"connecting failed: {error.strerror or type(error.os_error).__name__}"
    except aiohttp.ClientError as error:
        text = f"the connection broke off or the answer was no HTTP ({type(error).__name__})"
    except OSError as error:
        text = f"the connection failed ({type(error).__name__})"
    return AttemptResult("failed", None, _since_ms(started), text, heard="failed")


def webhook_session(policy: AddressPolicy, *, connections: int) -> aiohttp.ClientSession:
    """Open the guarded session that attempts are made with; the caller closes it."""
    reuse = aiohttp.TraceConfig()
    reuse.on_connection_reuseconn.append(_note_reuse)
    return guarded_session(
        policy,
        connections=connections,
        keep_alive_s=KEEP_ALIVE_S,
        trace_configs=[reuse],
        response_class=_Answer,
        auto_decompress=False,
    )


async def _post(
    session: aiohttp.ClientSession, url: URL, body: bytes, headers: dict[str, str], *, deadline: float
) -> aiohttp.ClientResponse:
    while True:
        left_s = max(deadline - time.perf_counter(), 0.001)
        timeout = aiohttp.ClientTimeout(total=left_s, sock_connect=min(CONNECT_TIMEOUT_S, left_s))
        wire = _Wire()
        try:
            return await session.post(
                url, data=body, headers=headers, timeout=timeout, allow_redirects=False, trace_request_ctx=wire
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not wire.reused:
                raise


async def _note_reuse(_session: aiohttp.ClientSession, trace: SimpleNamespace, _params: object) -> None:
    trace.trace_request_ctx.reused = True


def _result(response: aiohttp.ClientResponse, duration_ms: int, excerpt: str, now_s: float) -> AttemptResult:
    status = response.status
    if 200 <= status < 300:
        return AttemptResult("delivered", status, duration_ms, response_excerpt=excerpt)
    if status == 410:
        return AttemptResult("gone", status, duration_ms, "the receiver answers 410 Gone", response_excerpt=excerpt)
    what = "a redirect, which is not followed" if 300 <= status < 400 else "no success"
    return AttemptResult(
        "failed",
        status,
        duration_ms,
        f"the receiver answers {status}: {what}",
        retry_after_seconds(response.headers.get("Retry-After"), now_s),
        "failed" if status >= 500 or status == TOO_MANY_REQUESTS else "up",
        excerpt,
    )


def retry_after_seconds(value: str | None, now_s: float) -> float | None:
    """Read a `Retry-After` (RFC 9110, 10.2.3: seconds or a date); None for none or nonsense, never negative."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now_s)
    except (ValueError, OverflowError):  # a year of fourteen digits, an offset past year 9999
        return None


async def _excerpt(response: aiohttp.ClientResponse) -> str:
    read = bytearray()
    try:
        async with asyncio.timeout(EXCERPT_TIMEOUT_S):
            while len(read) < EXCERPT_BYTES:
                chunk = await response.content.read(EXCERPT_BYTES - len(read))
                if not chunk:
                    break
                read += chunk
    except (aiohttp.ClientError, TimeoutError):
        # The status has been said already; what is missing of the body changes nothing.
        return read.decode(errors="replace")
    return read.decode(errors="replace")


def _since_ms(started: float) -> int:
    return int((time.perf_counter() - started) * 1000)
