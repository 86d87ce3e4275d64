"""Acting a fault out on a connection: refusing, hanging, dropping, or answering with something unreadable."""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import web

from simulator.faults import AFTER, BEFORE, Fault
from simulator.predictions import Prediction
from simulator.settings import Settings
from simulator.wire import ErrorShapes, html_page
from simulator.world import World


class Disturber:
    """Asks the fault book about every call and acts out what it says."""

    def __init__(self, world: World, shapes: ErrorShapes, stopping: asyncio.Event) -> None:
        self._world = world
        self._shapes = shapes
        self._stopping = stopping

    async def before(
        self, request: web.Request, call: str, prompt: str | None, markers: tuple[Fault, ...]
    ) -> web.StreamResponse | None:
        """Return what to answer instead of doing the call, or None to go on."""
        fault = self._world.faults.take(BEFORE, call=call, prompt=prompt, markers=markers)
        if fault is None:
            return None
        settings = self._world.settings
        if fault.kind == "error_before":
            return self.error(fault, settings)
        if fault.kind == "html_error":
            return html_page(int(fault.status or 502))
        if fault.kind == "rate_limit":
            return self.rate_limited(settings, 1.0 if fault.seconds is None else fault.seconds)
        if fault.kind == "balance_empty":
            return self.insufficient_balance(settings)
        if fault.kind == "not_found":
            return self._shapes.error(404, "prediction not found", shape=settings.error_shape)
        if fault.kind == "hang":
            await self.pause(fault.seconds)
        return await self.drop(request, fault.variant or "fin")

    async def after(
        self, request: web.Request, call: str, prompt: str | None, markers: tuple[Fault, ...]
    ) -> web.StreamResponse | None:
        """Return what to answer instead of the truth, or None to tell it; may delay first."""
        faults = self._world.faults
        delay = faults.take(("delay_answer",), call=call, prompt=prompt, markers=markers)
        if delay is not None:
            await self.pause(delay.seconds)
        fault = faults.take(AFTER, call=call, prompt=prompt, markers=markers)
        if fault is None:
            return None
        if fault.kind == "error_after":
            return self.error(fault, self._world.settings)
        if fault.kind == "html_error_after":
            return html_page(int(fault.status or 502))
        if fault.kind == "unreadable":
            return web.Response(body=b'{"code":200,"message":"success","data":{"id":"', content_type="application/json")
        if fault.kind == "hang_after":
            await self.pause(fault.seconds)
        return await self.drop(request, fault.variant or "fin")

    def waits_for_callback(self, prediction: Prediction) -> float | None:
        """Return how long the submit's answer waits for the callback to go first, if it does."""
        fault = self._world.faults.take(
            ("callback_before_answer",), call="submit", prompt=prediction.prompt, markers=prediction.markers
        )
        return None if fault is None else fault.seconds

    async def pause(self, seconds: float | None) -> None:
        """Hold the call for so long, or until the client leaves (which cancels it); a stop of the server ends it."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def drop(self, request: web.Request, variant: str) -> web.StreamResponse:
        """Close the connection without an answer (`rst`, `fin`) or in the middle of one (`cut`)."""
        transport = request.transport
        if transport is None:
            return web.Response()
        if variant == "cut":
            response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "400"})
            await response.prepare(request)
            await response.write(b'{"code":200,"message":"success","data":{')
        if variant == "rst":
            connection: socket.socket | None = transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        # The server finds the connection gone when it tries to send this, and ends quietly.
        return web.Response()

    def error(self, fault: Fault, settings: Settings) -> web.Response:
        """Answer with the fault's HTTP status."""
        status = int(fault.status or 500)
        if status == 429:
            return self.rate_limited(settings, 1.0 if fault.seconds is None else fault.seconds)
        return self._shapes.error(status, shape=fault.shape or settings.error_shape)

    def rate_limited(self, settings: Settings, retry_after_s: float) -> web.Response:
        """Answer 429, with or without a Retry-After."""
        headers = {}
        whole_s = max(1, int(-(-retry_after_s // 1)))
        if settings.retry_after == "seconds":
            headers["Retry-After"] = str(whole_s)
        elif settings.retry_after == "date":
            headers["Retry-After"] = self._world.clock.http_date(whole_s)
        return self._shapes.error(
            429, "rate limit exceeded, please try again later", shape=settings.error_shape, headers=headers
        )

    def insufficient_balance(self, settings: Settings) -> web.Response:
        """Refuse for lack of money, as 402 or as a 400 whose text says so."""
        status = int(settings.insufficient_balance_style)
        return self._shapes.error(
            status, "insufficient balance, please top up your account", shape=settings.error_shape
        )
