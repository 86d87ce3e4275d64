"""One HTTP exchange with upstream, by either of two clients over the same connections, read to an `Answer`.

Control calls speak httpx over the aiohttp session; results go straight to the session
(`docs/adr/0003-upstream-http.md`). Neither follows a redirect: a POST that is sent on somewhere is a POST that is
sent twice.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import yarl
from httpx_aiohttp import AiohttpTransport

from darkroom.errors import ConfigurationError
from darkroom.upstream.headers import parse_date, retry_after_s
from darkroom.upstream.mapping import Answer
from darkroom.upstream.reading import Document, read_document
from darkroom.upstream.session import CONNECT_TIMEOUT_S

_MEANT_FOR = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "darkroom"}


class Calls:
    """The exchanges with one account. The session stays its maker's to close."""

    def __init__(self, *, session: aiohttp.ClientSession, base_url: str, api_key: str) -> None:
        _check(base_url, api_key)
        self._base_url = base_url.rstrip("/")
        self._secret = api_key
        self._session = session
        self._headers = {**_MEANT_FOR, "Authorization": f"Bearer {api_key}"}
        # The context is for connections that the transport would open by itself: never, it has the session.
        transport = AiohttpTransport(client=session, verify=ssl.create_default_context())
        self._client = httpx.AsyncClient(
            transport=transport,
            headers=self._headers,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            trust_env=False,
            follow_redirects=False,
        )

    @property
    def is_closed(self) -> bool:
        """Whether the session is closed, so that nothing can leave any more."""
        return self._session.closed

    async def control(
        self, method: str, path: str, *, body: Any = None, answer_s: float, spool_dir: Path | None = None
    ) -> Answer:
        """Make one control call through httpx, once. Takes `CONNECT_TIMEOUT_S` and `answer_s` in all at most.

        Raises what the exchange raises; `failures.py` says what it proves.
        """
        request = self._client.build_request(
            method,
            self._base_url + path,
            content=None if body is None else json.dumps(body).encode(),
            headers=None if body is None else {"Content-Type": "application/json"},
            timeout=httpx.Timeout(answer_s, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S),
        )
        async with asyncio.timeout(CONNECT_TIMEOUT_S + answer_s):
            response = await self._client.send(request, stream=True)
            try:
                document = await read_document(response.aiter_bytes(), spool_dir=spool_dir)
            finally:
                await response.aclose()
        return self._answer(response.status_code, response.headers, document)

    async def result(self, path: str, *, answer_s: float, spool_dir: Path | None = None) -> Answer:
        """Make one GET straight on the session, the cheaper way; times and errors as in `control`."""
        timeout = aiohttp.ClientTimeout(
            total=CONNECT_TIMEOUT_S + answer_s, connect=CONNECT_TIMEOUT_S, sock_read=answer_s
        )
        url = yarl.URL(self._base_url + path, encoded=True)
        async with self._session.get(url, headers=self._headers, allow_redirects=False, timeout=timeout) as response:
            document = await read_document(response.content.iter_any(), spool_dir=spool_dir)
        return self._answer(response.status, response.headers, document)

    def _answer(self, status: int, headers: Mapping[str, str], document: Document) -> Answer:
        date = parse_date(headers.get("Date"))
        wait_s = retry_after_s(headers.get("Retry-After"), server_date=date)
        return Answer(status, document, wait_s, date, self._secret)


def _check(base_url: str, api_key: str) -> None:
    problems = []
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        problems.append("WAVESPEED_BASE_URL must be an address such as https://api.wavespeed.ai")
    if not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key and api_key):
        problems.append("WAVESPEED_API_KEY must be visible ASCII characters without spaces around them")
    if problems:
        raise ConfigurationError(problems)
