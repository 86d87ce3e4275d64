"""Serving the files: signed addresses that expire, pictures drawn at first download, and every way to spoil one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from simulator.disturb import Disturber
from simulator.faults import OUTPUT, Fault
from simulator.images import Panel, draw_panel, padded_png
from simulator.markers import without_markers
from simulator.predictions import Prediction
from simulator.wire import html_page
from simulator.world import World

_CONTENT_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_PIECE = 256 * 1024
_SECRET = b"simulated signing key of output addresses"

Parts = list[bytes | memoryview]


class Pictures:
    """Draws pictures in one thread and remembers the last few."""

    def __init__(self, world: World, remembered_bytes: int = 48 * 1024 * 1024) -> None:
        self._world = world
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="simulator-draw")
        self._remembered_bytes = remembered_bytes
        self._held_bytes = 0
        self._cache: OrderedDict[tuple[Panel, str], bytes] = OrderedDict()

    def close(self) -> None:
        """Let the drawing thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def parts(self, prediction: Prediction, number: int) -> Parts:
        """Return a panel's file in pieces."""
        settings = self._world.settings
        if settings.image_bytes is not None and settings.output_format == "png":
            padded = padded_png(
                prediction.width, prediction.height, number, prediction.max_images, settings.image_bytes
            )
            return padded.parts(f"{prediction.id}/{number}")
        panel = Panel(
            without_markers(prediction.prompt), prediction.width, prediction.height, number, prediction.max_images
        )
        key = (panel, settings.output_format)
        picture = self._cache.get(key)
        if picture is None:
            loop = asyncio.get_running_loop()
            picture = await loop.run_in_executor(self._thread, draw_panel, panel, settings.output_format)
            self._remember(key, picture)
        else:
            self._cache.move_to_end(key)
        return [picture]

    async def as_base64(self, prediction: Prediction, number: int) -> str:
        """Return a panel as the text that base64 output carries."""
        settings = self._world.settings
        text = base64.b64encode(b"".join(await self.parts(prediction, number))).decode()
        if settings.base64_style == "bare":
            return text
        return f"data:{_CONTENT_TYPES[settings.output_format]};base64,{text}"

    def _remember(self, key: tuple[Panel, str], picture: bytes) -> None:
        if key not in self._cache:
            self._cache[key] = picture
            self._held_bytes += len(picture)
        while self._held_bytes > self._remembered_bytes and len(self._cache) > 1:
            self._held_bytes -= len(self._cache.popitem(last=False)[1])


class Outputs:
    """Mints the addresses of a prediction's files and serves them."""

    def __init__(self, world: World, disturber: Disturber, base_url: str) -> None:
        self._world = world
        self._disturber = disturber
        self.pictures = Pictures(world)
        self.base_url = base_url
        self.served_bytes = 0

    def urls(self, prediction: Prediction) -> list[str | None]:
        """Return the addresses of a completed prediction's files, fresh ones if they had expired."""
        if prediction.status != "completed":
            return []
        settings = self._world.settings
        now = time.time()
        if settings.output_url_renewed and now > prediction.urls_minted_at + settings.output_url_ttl_s:
            prediction.urls_minted_at = now
        expires = int((prediction.urls_minted_at + settings.output_url_ttl_s) * 1000)
        extension = settings.output_extension or settings.output_format
        missing = prediction.fate.null_outputs
        return [
            None
            if number in missing
            else f"{self.base_url}/outputs/{prediction.id}/{number}.{extension}"
            f"?expires={expires}&token={_token(prediction.id, number, expires)}"
            for number in range(1, prediction.output_count + 1)
        ]

    async def values(self, prediction: Prediction) -> list[str | None]:
        """Return what `outputs` holds in a result: addresses, or base64 text if that was asked for."""
        if not prediction.is_base64 or prediction.status != "completed":
            return self.urls(prediction)
        return [
            None if number in prediction.fate.null_outputs else await self.pictures.as_base64(prediction, number)
            for number in range(1, prediction.output_count + 1)
        ]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /outputs/{id}/{number}.{extension}`."""
        prediction = self._world.predictions.get(request.match_info["id"])
        number = int(request.match_info["number"])
        if prediction is None or prediction.is_deleted or not 1 <= number <= prediction.output_count:
            return html_page(404)
        prompt, markers = prediction.prompt, prediction.markers
        if spoiled := await self._disturber.before(request, "output", prompt, markers):
            return spoiled
        fault = self._world.faults.take(
            OUTPUT, call="output", prompt=prompt, markers=markers, index=number, scope=(prediction.id, number)
        )
        if (fault and fault.kind == "expired") or not self._is_signed(request, prediction.id, number):
            return html_page(403)
        if spoiled := await self._disturber.after(request, "output", prompt, markers):
            return spoiled
        if fault is not None and (refusal := _refusal(fault, request)) is not None:
            return refusal
        return await self._send(request, await self.pictures.parts(prediction, number), fault)

    def _is_signed(self, request: web.Request, prediction_id: str, number: int) -> bool:
        try:
            expires = int(request.query.get("expires", ""))
        except ValueError:
            return False
        token = request.query.get("token", "")
        return time.time() * 1000 <= expires and hmac.compare_digest(token, _token(prediction_id, number, expires))

    async def _send(self, request: web.Request, parts: Parts, fault: Fault | None) -> web.StreamResponse:
        kind = fault.kind if fault else None
        length = sum(len(part) for part in parts)
        response = web.StreamResponse(headers={"Content-Type": _CONTENT_TYPES[self._world.settings.output_format]})
        if kind == "no_content_length":
            response.enable_chunked_encoding()
        else:
            response.content_length = length
        if kind == "truncated":
            parts = _first_half(parts)
        elif kind == "wrong_length":
            # A length that is honest for the transfer, yet the file itself ends early.
            parts = _first_half(parts)
            response.content_length = sum(len(part) for part in parts)
        await response.prepare(request)
        for part in parts:
            await self._write(response, memoryview(part), fault.bytes_per_s if fault else None)
        if kind == "truncated" and request.transport is not None:
            request.transport.close()
            return response
        await response.write_eof()
        return response

    async def _write(self, response: web.StreamResponse, part: memoryview, bytes_per_s: int | None) -> None:
        piece = _PIECE if bytes_per_s is None else max(1, bytes_per_s // 10)
        for start in range(0, len(part), piece):
            data = part[start : start + piece]
            await response.write(data)
            self.served_bytes += len(data)
            if bytes_per_s is not None:
                await self._disturber.pause(len(data) / bytes_per_s)


def _refusal(fault: Fault, request: web.Request) -> web.Response | None:
    """Answer instead of the file, where the fault is of that sort."""
    if fault.kind == "missing":
        return html_page(404)
    if fault.kind == "output_error":
        return html_page(int(fault.status or 503))
    if fault.kind == "wrong_type":
        return web.Response(text="<html><body>Please sign in.</body></html>", content_type="text/html")
    if fault.kind == "redirect" and "redirected" not in request.query:
        return web.Response(status=302, headers={"Location": str(request.rel_url.update_query(redirected="1"))})
    return None


def _first_half(parts: Parts) -> Parts:
    data = b"".join(parts)
    return [data[: len(data) // 2]]


def _token(prediction_id: str, number: int, expires: int) -> str:
    return hmac.new(_SECRET, f"{prediction_id}/{number}/{expires}".encode(), hashlib.sha256).hexdigest()[:32]
