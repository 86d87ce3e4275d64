"""What a failed exchange proves: the one classification of network failures, whichever client made the call.

Only where aiohttp was still connecting has nothing left: its connector raises `ClientConnectorError` (name lookup,
refused, reset or TLS failure while connecting) and `ConnectionTimeoutError` (no free connection, or connecting took
too long), and `ClientSession._request` raises both before it writes. httpx's own classes prove nothing here:
httpx-aiohttp 0.2 turns a connection dropped *after* sending into `ConnectTimeout`, so the cause below it is what
counts.
"""

import asyncio
import errno
import os
import ssl

import aiohttp
import httpx

from darkroom.upstream.session import HeldUpError

STILL_CONNECTING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


def cause_of(error: BaseException) -> BaseException:
    """Give aiohttp's own error under httpx's, or the error itself."""
    if isinstance(error, httpx.TransportError) and error.__cause__ is not None:
        return error.__cause__
    return error


def never_left(error: BaseException) -> bool:
    """Tell whether the request provably never left this machine."""
    return isinstance(cause_of(error), STILL_CONNECTING) or was_held_up(error)


def was_held_up(error: BaseException) -> bool:
    """Tell whether the request was not written because the time for that was over."""
    return isinstance(cause_of(error), HeldUpError)


def is_network_failure(error: BaseException) -> bool:
    """Tell whether it is trouble of the exchange, not a mistake in this program."""
    return isinstance(cause_of(error), aiohttp.ClientError | httpx.TransportError | httpx.DecodingError | TimeoutError)


def describe(error: BaseException) -> str:
    """Name a failure without repeating its text, which may hold an address with a token."""
    cause = cause_of(error)
    for kinds, words in _WORDS:
        if isinstance(cause, kinds):
            return words + _reason(cause)
    return f"the exchange with upstream failed ({type(cause).__name__})"


_WORDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (HeldUpError, "this process was held up before it could send"),
    (aiohttp.ClientConnectorDNSError, "upstream's name could not be looked up"),
    ((aiohttp.ClientSSLError, ssl.SSLError), "no TLS connection to upstream"),
    (aiohttp.ClientConnectorError, "no connection to upstream"),
    (aiohttp.ConnectionTimeoutError, "no connection to upstream in time"),
    (aiohttp.ServerDisconnectedError, "upstream closed the connection without an answer"),
    ((aiohttp.SocketTimeoutError, asyncio.TimeoutError), "upstream did not answer in time"),
    (aiohttp.ClientPayloadError, "upstream's answer was cut short"),
    (aiohttp.ClientResponseError, "upstream's answer is not HTTP"),
    (aiohttp.ClientOSError, "the connection to upstream broke"),
)


def _reason(cause: BaseException) -> str:
    number = cause.errno if isinstance(cause, OSError) else None
    return f" ({os.strerror(number)})" if number is not None and number in errno.errorcode else ""
