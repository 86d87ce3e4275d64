"""Upstream's objects read from parsed JSON, tolerantly: a field of the wrong type counts as missing, except the id."""

import math
from typing import Any

from darkroom.upstream.base64_text import EncodedOutput, is_url
from darkroom.upstream.outcomes import Billing, OutputRef, Prediction, PredictionInput, Price
from darkroom.upstream.text import clean_text

MAX_ID = 200


def parse_prediction(data: Any, *, secret: str = "") -> Prediction | None:
    """Read a prediction object; None if it has no id. `secret` is cut out of its error text."""
    if not isinstance(data, dict):
        return None
    identifier = _text(data.get("id"))
    if not identifier or len(identifier) > MAX_ID:
        return None
    outputs = parse_outputs(data.get("outputs"))
    flags = data.get("has_nsfw_contents")
    return Prediction(
        id=identifier,
        model=_text(data.get("model")),
        status=_text(data.get("status")),
        outputs=outputs,
        nsfw=_flags(flags if isinstance(flags, list) else [], len(outputs)),
        inference_ms=_inference_ms(data),
        created_at=_text(data.get("created_at")) or None,
        error=clean_text(_error_text(data.get("error")), secret),
        code=whole_number(data.get("code")),
        input=_input(data.get("input")) or _input(data.get("inputs")),
    )


def parse_outputs(value: Any) -> tuple[OutputRef, ...]:
    """Read `outputs` as `reading.read_document` leaves it; an entry that is no image keeps its place, with a note."""
    if not isinstance(value, list):
        return ()
    return tuple(_output(index, entry) for index, entry in enumerate(value))


def parse_price(data: Any) -> Price | None:
    """Read a price quote; None if it has no price."""
    price = number(data.get("price")) if isinstance(data, dict) else None
    if price is None:
        return None
    discounted = number(data.get("discounted_price"))
    return Price(price, price if discounted is None else discounted, _text(data.get("currency")) or "USD")


def parse_billing(data: Any) -> Billing | None:
    """Read a billing record (wavespeed.ai/docs/check-billings); None if it has no amount."""
    price = number(data.get("price")) if isinstance(data, dict) else None
    if price is None:
        return None
    prediction = data.get("prediction")
    nested = _text(prediction.get("uuid")) if isinstance(prediction, dict) else ""
    return Billing(
        id=_text(data.get("uuid")),
        prediction_id=nested or _text(data.get("prediction_uuid")) or None,
        billing_type=_text(data.get("billing_type")),
        price=price,
        created_at=_text(data.get("created_at")) or None,
    )


def whole_number(value: Any) -> int | None:
    """Read an integer that may come as text or as a float."""
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def number(value: Any) -> float | None:
    """Read a finite number that may come as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _error_text(value: Any) -> str:
    return _text(value.get("message")) if isinstance(value, dict) else _text(value)


def _output(index: int, entry: Any) -> OutputRef:
    if isinstance(entry, str) and is_url(entry):
        return OutputRef(index, url=entry)
    if isinstance(entry, EncodedOutput):
        return OutputRef(index, base64=entry.problem is None, note=entry.problem)
    return OutputRef(index, note="it is null" if entry is None else "it is neither an address nor base64")


def _flags(flags: list[Any], count: int) -> tuple[bool | None, ...]:
    known = [flag if isinstance(flag, bool) else None for flag in flags[:count]]
    return tuple(known + [None] * (count - len(known)))


def _inference_ms(data: dict[str, Any]) -> int | None:
    timings = data.get("timings")
    inference = number(timings.get("inference")) if isinstance(timings, dict) else None
    found = inference or number(data.get("executionTime")) or inference
    return None if found is None else int(found)


def _input(value: Any) -> PredictionInput | None:
    if not isinstance(value, dict) or not isinstance(value.get("prompt"), str):
        return None
    return PredictionInput(value["prompt"], _text(value.get("size")) or None, whole_number(value.get("max_images")))
