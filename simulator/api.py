"""The vendor's calls over HTTP: reading requests, asking the world, answering in the vendor's shapes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from simulator.accounts import Account, fingerprint
from simulator.callbacks import CallbackSender
from simulator.clock import NANOSECONDS, iso_nanoseconds, parse_iso_ns
from simulator.disturb import Disturber
from simulator.faults import CALLS, FaultError
from simulator.markers import markers_of
from simulator.outputs import Outputs
from simulator.predictions import MICROS, Prediction
from simulator.validation import BadRequestError, check_callback_url, read_object, read_submit
from simulator.wire import MODEL, ErrorShapes, html_page, success
from simulator.world import InsufficientBalanceError, RateLimitedError, World

#: The account whose key a request came with.
ACCOUNT = web.RequestKey("account", Account)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """Handlers of `/api/v3`. Counts the calls."""

    def __init__(self, world: World, shapes: ErrorShapes, disturber: Disturber, outputs: Outputs) -> None:
        self._world = world
        self._shapes = shapes
        self._disturber = disturber
        self._outputs = outputs
        self.callbacks = CallbackSender(world, lambda prediction: self._wire(prediction, outputs.urls(prediction)))
        self.requests = dict.fromkeys(CALLS, 0)
        self.looks_too_soon = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the API; a path outside them is an unknown model."""
        return [
            web.post(f"/api/v3/{MODEL}", self._call("submit", self._submit)),
            web.get("/api/v3/predictions/{id}/result", self._call("result", self._result)),
            web.post("/api/v3/predictions", self._call("list", self._list)),
            web.delete("/api/v3/predictions/{id}", self._call("delete", self._delete)),
            web.get("/api/v3/balance", self._call("balance", self._balance)),
            web.post("/api/v3/model/price", self._call("price", self._price)),
            web.post("/api/v3/billings/search", self._call("billings", self._billings)),
            web.get("/api/v3/webhook/secret", self._call("secret", self._secret)),
            web.get("/outputs/{id}/{number:[0-9]{1,2}}.{extension}", self._serve_output),
            web.route("*", "/{path:.*}", self._unknown),
        ]

    def _call(self, name: str, handler: Handler) -> Handler:
        """Wrap a handler with counting, authentication, and the errors that all calls share."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests[name] += 1
            try:
                key = self._key(request)
                if key is None:
                    return self._error(401, "invalid authentication")
                request[ACCOUNT] = self._world.account(fingerprint(key))
                if name in ("submit", "result"):
                    return await handler(request)
                return await self._undisturbed(request, name, handler)
            except (BadRequestError, FaultError) as error:
                return self._error(400, str(error))
            except RateLimitedError as error:
                return self._disturber.rate_limited(self._world.settings, error.retry_after_s)
            except InsufficientBalanceError:
                return self._disturber.insufficient_balance(self._world.settings)

        return handle

    async def _undisturbed(self, request: web.Request, name: str, handler: Handler) -> web.StreamResponse:
        """Handle a call that concerns no single prediction, unless a live fault strikes it."""
        if spoiled := await self._disturber.before(request, name, None, ()):
            return spoiled
        answer = await handler(request)
        return await self._disturber.after(request, name, None, ()) or answer

    def _key(self, request: web.Request) -> str | None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        key = key.strip()
        allowed = self._world.settings.keys
        if scheme.lower() != "bearer" or not key or (allowed and key not in allowed):
            return None
        return key

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        world, body = self._world, await request.read()
        submit = read_submit(body, reject_unknown=world.settings.reject_unknown_fields)
        webhook = request.query.get("webhook")
        if webhook is not None:
            check_callback_url(webhook, is_base64=submit.is_base64, allow_http=world.settings.allow_http_callbacks)
        prompt, markers = submit.prompt, markers_of(submit.prompt)
        if spoiled := await self._disturber.before(request, "submit", prompt, markers):
            return spoiled
        prediction = world.create(request[ACCOUNT], submit, body=body, webhook=webhook)
        callback_wait_s = self._disturber.waits_for_callback(prediction)
        if callback_wait_s is not None:
            await self.callbacks.wait_sent(prediction, callback_wait_s)
        if spoiled := await self._disturber.after(request, "submit", prompt, markers):
            return spoiled
        answer = (
            await self._await_result(prediction)
            if submit.is_sync
            else success(self._wire(prediction, [], status="created"))
        )
        prediction.was_answered = True
        return answer

    async def _await_result(self, prediction: Prediction) -> web.Response:
        """Hold a submit in sync mode until there is a result, or give up while the task goes on."""
        settings = self._world.settings
        if await self._world.wait_done(prediction, settings.sync_wait_s):
            return success(self._wire(prediction, await self._outputs.values(prediction)))
        if settings.sync_timeout_style == "504":
            return html_page(504)
        data = self._wire(prediction, [], status="processing")
        return success(data | {"error": f"Sync mode timed out after {settings.sync_wait_s:g} seconds", "code": 5004})

    async def _result(self, request: web.Request) -> web.StreamResponse:
        prediction = self._world.find(request[ACCOUNT], request.match_info["id"])
        prompt = prediction.prompt if prediction else None
        markers = prediction.markers if prediction else ()
        if spoiled := await self._disturber.before(request, "result", prompt, markers):
            return spoiled
        if prediction is None or (prediction.is_deleted and self._world.settings.deleted_style == "404"):
            return self._error(404, "prediction not found")
        self._count_look(prediction)
        answer = success(self._wire(prediction, await self._outputs.values(prediction)))
        return await self._disturber.after(request, "result", prompt, markers) or answer

    def _count_look(self, prediction: Prediction) -> None:
        now = self._world.tick()
        if prediction.looks and now - prediction.last_look_tick < 1.9:
            self.looks_too_soon += 1
        prediction.looks += 1
        prediction.last_look_tick = now

    async def _list(self, request: web.Request) -> web.StreamResponse:
        query = read_object(await request.read())
        page, page_size = _page_of(query)
        settings = self._world.settings
        matches = _filter(query)
        start, items, total = (page - 1) * page_size, [], 0
        for prediction in self._world.newest_first(request[ACCOUNT]):
            if not matches(prediction):
                continue
            if start <= total < start + page_size:
                item = self._wire(prediction, [] if prediction.is_base64 else self._outputs.urls(prediction))
                if settings.list_input != "none":
                    item[settings.list_input] = prediction.input()
                items.append(item)
            total += 1
            if not settings.list_total and total >= start + page_size:
                break
        data: dict[str, Any] = {"page": page, "total": total, "items": items}
        if not settings.list_total:
            del data["total"]
        return success(data)

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        prediction = self._world.find(request[ACCOUNT], request.match_info["id"])
        if prediction is None:
            return self._error(404, "prediction not found")
        self._world.delete(prediction)
        return success({"id": prediction.id, "status": "deleted"})

    async def _balance(self, request: web.Request) -> web.StreamResponse:
        return success({"balance": request[ACCOUNT].balance / MICROS})

    async def _price(self, request: web.Request) -> web.StreamResponse:
        query = read_object(await request.read())
        if query.get("model_id") != MODEL:
            return self._error(404, "model not found")
        inputs = query.get("inputs")
        images = inputs.get("max_images", 1) if isinstance(inputs, dict) else 1
        if not isinstance(images, int):
            raise BadRequestError("property 'max_images' must be an integer")
        price = round(self._world.settings.price_per_image_usd * images, 6)
        return success({"price": price, "discounted_price": price, "currency": "USD", "unit_price": price})

    async def _billings(self, request: web.Request) -> web.StreamResponse:
        query = read_object(await request.read())
        page, page_size = _page_of(query)
        wanted, kind = query.get("prediction_uuids"), query.get("billing_type")
        records = [
            record
            for prediction in reversed(request[ACCOUNT].predictions)
            if not wanted or prediction.id in wanted
            for record in _billing_records(prediction)
            if kind is None or record["billing_type"] == kind
        ]
        start = (page - 1) * page_size
        return success({"page": page, "total": len(records), "items": records[start : start + page_size]})

    async def _secret(self, request: web.Request) -> web.StreamResponse:
        return success({"secret": request[ACCOUNT].webhook_secret(self._world.settings)})

    async def _serve_output(self, request: web.Request) -> web.StreamResponse:
        self.requests["output"] += 1
        return await self._outputs.serve(request)

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/api/v3/") and self._key(request) is None:
            return self._error(401, "invalid authentication")
        return self._error(404, "model not found" if request.method == "POST" else "not found")

    def _wire(self, prediction: Prediction, outputs: list[str | None], *, status: str | None = None) -> dict[str, Any]:
        shown = [] if prediction.is_deleted else outputs
        return prediction.wire(
            self._outputs.base_url, shown, execution_time=self._world.settings.execution_time, status=status
        )

    def _error(self, status: int, text: str) -> web.Response:
        return self._shapes.error(status, text, shape=self._world.settings.error_shape)


def _page_of(query: dict[str, Any]) -> tuple[int, int]:
    page, page_size = query.get("page", 1), query.get("page_size", 10)
    if not isinstance(page, int) or isinstance(page, bool) or page < 1:
        raise BadRequestError("property 'page' must be at least 1")
    if not isinstance(page_size, int) or isinstance(page_size, bool) or not 1 <= page_size <= 100:
        raise BadRequestError("property 'page_size' must be between 1 and 100")
    return page, page_size


def _filter(query: dict[str, Any]) -> Callable[[Prediction], bool]:
    """Build the list call's filter; both ends of the time range belong to it."""
    try:
        after = parse_iso_ns(query["created_after"]) if query.get("created_after") else 0
        before = parse_iso_ns(query["created_before"]) if query.get("created_before") else 2**63 * NANOSECONDS
    except (ValueError, TypeError, AttributeError) as error:
        raise BadRequestError("created_after and created_before must be ISO 8601 times") from error
    model, status = query.get("model"), query.get("status")

    def matches(prediction: Prediction) -> bool:
        if not after <= prediction.created_at_ns <= before:
            return False
        return (not status or prediction.status == status) and (not model or model == MODEL)

    return matches


def _billing_records(prediction: Prediction) -> list[dict[str, Any]]:
    def record(kind: str, micros: int, when_ns: int) -> dict[str, Any]:
        when = iso_nanoseconds(when_ns)[:-7] + "Z"
        return {
            "uuid": f"{kind}-{prediction.id}",
            "access_key_name": prediction.key_fingerprint,
            "billing_type": kind,
            "price": micros / MICROS,
            "created_at": when,
            "updated_at": when,
            "prediction_uuid": prediction.id,
            "prediction": {"uuid": prediction.id, "model_uuid": MODEL},
        }

    records = [record("deduct", prediction.charged, prediction.created_at_ns)]
    if prediction.refunded:
        records.insert(0, record("refund", prediction.refunded, prediction.refunded_at_ns))
    return records
