"""The control endpoint under `/_simulator`: the ledger, counters, live settings, live faults. For this machine only."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from simulator.api import Api
from simulator.faults import FaultError, make_fault
from simulator.outputs import Outputs
from simulator.predictions import MICROS
from simulator.settings import SettingsError
from simulator.validation import BadRequestError, read_object
from simulator.wire import TASK_ERRORS, json_body
from simulator.world import World


class Control:
    """Handlers of `/_simulator`. Answers are plain JSON without the vendor's envelope."""

    def __init__(self, world: World, api: Api, outputs: Outputs, *, is_open: bool) -> None:
        self._world = world
        self._api = api
        self._outputs = outputs
        self._is_open = is_open
        self.on_reset: list[Callable[[], None]] = []

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; they come before the API's catch-all."""
        guarded = [
            web.get("/_simulator/ledger", self._ledger),
            web.get("/_simulator/stats", self._stats),
            web.get("/_simulator/settings", self._get_settings),
            web.patch("/_simulator/settings", self._patch_settings),
            web.get("/_simulator/faults", self._get_faults),
            web.post("/_simulator/faults", self._add_fault),
            web.delete("/_simulator/faults", self._clear_faults),
            web.delete("/_simulator/faults/{id:[0-9]+}", self._remove_fault),
            web.post("/_simulator/reset", self._reset),
            web.post("/_simulator/complete/{id}", self._complete),
            web.post("/_simulator/fail/{id}", self._fail),
        ]
        routes = [web.RouteDef(route.method, route.path, self._guard(route.handler), {}) for route in guarded]
        return [web.get("/_simulator/healthz", self._healthz), *routes]

    def _guard(self, handler: Any) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if not (self._is_open or _is_loopback(request.remote)):
                return _json({"error": "the control endpoint answers this machine only"}, status=403)
            try:
                answer: web.StreamResponse = await handler(request)
            except (SettingsError, FaultError, BadRequestError) as error:
                return _json({"error": str(error)}, status=400)
            return answer

        return handle

    async def _healthz(self, request: web.Request) -> web.Response:
        return _json({"status": "ok", "simulation": True})

    async def _ledger(self, request: web.Request) -> web.Response:
        text, key = request.query.get("prompt_contains", ""), request.query.get("key", "")
        limit, offset = _count(request, "limit", 2**31), _count(request, "offset", 0)
        matching = [
            prediction
            for prediction in self._world.predictions.values()
            if text in prediction.prompt and key in ("", prediction.key_fingerprint)
        ]
        totals = {
            "predictions": len(matching),
            "images": sum(prediction.max_images for prediction in matching),
            "charged_usd": sum(prediction.charged for prediction in matching) / MICROS,
            "refunded_usd": sum(prediction.refunded for prediction in matching) / MICROS,
        }
        shown = matching[offset : offset + limit]
        return _json({"predictions": [prediction.ledger_entry() for prediction in shown], "totals": totals})

    async def _stats(self, request: web.Request) -> web.Response:
        now, accounts = self._world.tick(), list(self._world.accounts.values())
        by_account = {account.fingerprint: account.stats(now, self._world.settings) for account in accounts}
        return _json(
            {
                "requests": self._api.requests,
                "rate_limited": sum(account.rate_limited for account in accounts),
                "max_images_in_60s": max((account.images.peak for account in accounts), default=0),
                "max_in_flight": max((account.max_in_flight for account in accounts), default=0),
                "max_running": max((account.max_running for account in accounts), default=0),
                "in_flight": sum(account.in_flight for account in accounts),
                "running": sum(account.running for account in accounts),
                "waiting": sum(len(account.waiting) for account in accounts),
                "predictions": len(self._world.predictions),
                "forgotten": self._world.forgotten,
                "looks_too_soon": self._api.looks_too_soon,
                "served_bytes": self._outputs.served_bytes,
                "callbacks": self._api.callbacks.counts,
                "faults_fired": self._world.faults.fired,
                "accounts": by_account,
            }
        )

    async def _get_settings(self, request: web.Request) -> web.Response:
        return _json(self._world.settings.as_dict())

    async def _patch_settings(self, request: web.Request) -> web.Response:
        self._world.apply(read_object(await request.read()))
        return await self._get_settings(request)

    async def _get_faults(self, request: web.Request) -> web.Response:
        live = [fault.as_dict() for fault in self._world.faults.live()]
        return _json({"faults": live, "fired": self._world.faults.fired})

    async def _add_fault(self, request: web.Request) -> web.Response:
        fields = read_object(await request.read())
        kind = fields.pop("kind", None)
        fault = self._world.faults.add(make_fault(str(kind), **fields))
        return _json(fault.as_dict(), status=201)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._world.faults.clear()
        return _json({"faults": []})

    async def _remove_fault(self, request: web.Request) -> web.Response:
        if not self._world.faults.remove(int(request.match_info["id"])):
            return _json({"error": "no such fault"}, status=404)
        return _json({})

    async def _reset(self, request: web.Request) -> web.Response:
        self._world.reset()
        self._api.requests.update(dict.fromkeys(self._api.requests, 0))
        self._api.looks_too_soon = self._outputs.served_bytes = 0
        self._api.callbacks.cancel_all()
        for listener in self.on_reset:
            listener()
        return _json({})

    async def _complete(self, request: web.Request) -> web.Response:
        return self._finish(request, "completed")

    async def _fail(self, request: web.Request) -> web.Response:
        return self._finish(request, "failed", _count(request, "code", 5000))

    def _finish(self, request: web.Request, status: str, code: int | None = None) -> web.Response:
        prediction = self._world.predictions.get(request.match_info["id"])
        if prediction is None:
            return _json({"error": "no such prediction"}, status=404)
        if prediction.is_done:
            return _json({"error": f"the prediction is {prediction.status} already"}, status=409)
        error = TASK_ERRORS.get(code, "Unknown error.") if code else ""
        self._world.finish(prediction, status=status, code=code, error=error)
        return _json(prediction.ledger_entry())


def _json(value: Any, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=json_body(value), content_type="application/json")


def _count(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isdigit():
        raise BadRequestError(f"'{name}' must be a whole number")
    return int(text)


def _is_loopback(remote: str | None) -> bool:
    try:
        return ipaddress.ip_address(remote or "").is_loopback
    except ValueError:
        return False
