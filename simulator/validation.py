"""Reading a submit's body: what the model accepts, and a clear word for what it does not."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

SIDE_MIN, SIDE_MAX = 1440, 4096
PIXELS_MIN, PIXELS_MAX = 2560 * 1440, 4096 * 4096
IMAGES_MAX = 15
DEFAULT_SIZE = "2048*2048"

_SIZE = re.compile(r"(\d{1,5})\*(\d{1,5})")
_FIELDS = {"prompt", "size", "max_images", "enable_base64_output", "enable_sync_mode"}


class BadRequestError(ValueError):
    """The request is refused with 400 and this text."""


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """A valid submit."""

    prompt: str
    width: int
    height: int
    max_images: int
    is_base64: bool
    is_sync: bool

    @property
    def size(self) -> str:
        """The size as it is written in the API."""
        return f"{self.width}*{self.height}"


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; raise `BadRequestError` if it is none."""
    try:
        value = json.loads(body) if body.strip() else {}
    except ValueError as error:
        raise BadRequestError("request body is not valid JSON") from error
    if not isinstance(value, dict):
        raise BadRequestError("request body must be a JSON object")
    return value


def read_submit(body: bytes, *, reject_unknown: bool = True) -> SubmitRequest:
    """Check a submit's body field by field; raise `BadRequestError` naming the first bad one."""
    value = read_object(body)
    unknown = sorted(set(value) - _FIELDS)
    if unknown and reject_unknown:
        raise BadRequestError(f"unknown field '{unknown[0]}'; allowed are {', '.join(sorted(_FIELDS))}")
    prompt = value.get("prompt")
    if prompt is None:
        raise BadRequestError("property 'prompt' is missing")
    if not isinstance(prompt, str) or not prompt.strip():
        raise BadRequestError("property 'prompt' must be a non-empty string")
    width, height = _read_size(value.get("size", DEFAULT_SIZE))
    max_images = value.get("max_images", 1)
    if not isinstance(max_images, int) or isinstance(max_images, bool):
        raise BadRequestError("property 'max_images' must be an integer")
    if not 1 <= max_images <= IMAGES_MAX:
        raise BadRequestError(f"property 'max_images' must be between 1 and {IMAGES_MAX}")
    return SubmitRequest(
        prompt, width, height, max_images, _flag(value, "enable_base64_output"), _flag(value, "enable_sync_mode")
    )


def check_callback_url(url: str, *, is_base64: bool, allow_http: bool) -> None:
    """Raise `BadRequestError` unless upstream would call this address.

    With `allow_http`, plain http to this very machine is allowed as well, for tests.
    """
    if is_base64:
        raise BadRequestError("webhook callback does not support base64 output")
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if allow_http and parts.scheme == "http" and _is_loopback(parts.hostname):
        return
    raise BadRequestError("webhook must be a public https URL")


def _read_size(value: Any) -> tuple[int, int]:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadRequestError("property 'size' must look like 2048*2048")
    width, height = int(match[1]), int(match[2])
    if not (SIDE_MIN <= width <= SIDE_MAX and SIDE_MIN <= height <= SIDE_MAX):
        raise BadRequestError(f"property 'size': each side must be between {SIDE_MIN} and {SIDE_MAX}")
    if not PIXELS_MIN <= width * height <= PIXELS_MAX:
        raise BadRequestError(f"property 'size': total pixels must be between {PIXELS_MIN} and {PIXELS_MAX}")
    return width, height


def _flag(value: dict[str, Any], name: str) -> bool:
    flag = value.get(name, False)
    if not isinstance(flag, bool):
        raise BadRequestError(f"property '{name}' must be a boolean")
    return flag


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
