"""Where the API is and with which key, checked before anything is sent."""

import os
import re
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import httpx

from darkroom.client.answers import Answer
from darkroom.client.calls import Call
from darkroom.client.errors import ConnectionFailed, connection_failed
from darkroom.errors import ConfigurationError

DEFAULT_URL = "http://127.0.0.1:8000"
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20)


@dataclass(frozen=True, slots=True)
class Config:
    """What both clients are made of. The key is shown nowhere."""

    url: str
    api_key: str | None = field(repr=False)
    timeout_s: float
    retries: int

    @classmethod
    def of(cls, url: str | None, api_key: str | None, timeout_s: float, retries: int) -> "Config":
        """Fill in what the environment says.

        Raises:
            ConfigurationError: an address or a key that can't be one.
        """
        url = (url or os.environ.get("DARKROOM_URL") or DEFAULT_URL).rstrip("/")
        api_key = api_key or os.environ.get("DARKROOM_API_KEY") or None
        problems = [*_url_problems(url)]
        if api_key is not None and not _VISIBLE_ASCII.fullmatch(api_key):
            problems.append("DARKROOM_API_KEY: the key holds blanks, line ends or characters that no key has")
        if not timeout_s > 0 or retries < 0:
            problems.append("timeout_s must be more than 0 and retries 0 or more")
        if problems:
            raise ConfigurationError(problems)
        return cls(url, api_key, timeout_s, retries)

    @property
    def timeout(self) -> httpx.Timeout:
        """For every call; a free connection is waited for as long as it takes."""
        return httpx.Timeout(self.timeout_s, pool=None)

    @property
    def limits(self) -> httpx.Limits:
        """Connections to keep."""
        return _LIMITS

    @property
    def headers(self) -> dict[str, str]:
        """For every request, also those to the bucket: nothing that is secret."""
        return {"User-Agent": f"darkroom-python/{_version()}"}

    def authorized(self, call: Call[object]) -> dict[str, str]:
        """Give the headers of a call of the API."""
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return {"Accept": "application/json", **call.headers, **key}

    def timeout_of(self, call: Call[object]) -> httpx.Timeout:
        """Give a call the time that it needs."""
        return httpx.Timeout(self.timeout_s, read=self.timeout_s + call.longer_s, pool=None)

    def failed(self, error: httpx.RequestError) -> ConnectionFailed:
        """Say that the API does not answer."""
        return connection_failed(error, f"the API at {self.url}")

    def fetch_failed(self, error: httpx.RequestError | httpx.InvalidURL) -> ConnectionFailed:
        """Say that the bucket does not answer."""
        if isinstance(error, httpx.InvalidURL):
            return ConnectionFailed("the API leads to what is no URL", connected=False)
        return connection_failed(error, "the bucket")


def answer_of(response: httpx.Response, *, whole: bool = True) -> Answer:
    """Take what an answer says; without `whole` its body is left to be read."""
    return Answer(response.status_code, dict(response.headers), response.content if whole else b"")


def _url_problems(url: str) -> list[str]:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        return ["DARKROOM_URL: this is no address such as http://127.0.0.1:8000"]
    if parsed.scheme not in ("http", "https") or not parsed.host:
        return ["DARKROOM_URL: this is no address such as http://127.0.0.1:8000"]
    if parsed.userinfo or parsed.query or parsed.fragment:
        return ["DARKROOM_URL: it must hold no user name, password or query; the key goes into DARKROOM_API_KEY"]
    return []


def _version() -> str:
    try:
        return version("darkroom-queue")
    except PackageNotFoundError:
        return "unknown"
