"""Reading upstream's objects, whatever is missing or of the wrong type."""

from typing import Any

import orjson
import pytest

from darkroom.upstream.outcomes import PredictionInput
from darkroom.upstream.wire import parse_billing, parse_prediction, parse_price


@pytest.mark.parametrize("name", ["input", "inputs"])
def test_input_is_read_under_both_of_its_names(name: str) -> None:
    found = parse_prediction({"id": "p", name: {"prompt": "a fox", "size": "2048*2048", "max_images": 4}})
    assert found is not None
    assert found.input == PredictionInput("a fox", "2048*2048", 4)


def test_input_keeps_what_it_has_and_marks_what_it_lacks() -> None:
    found = parse_prediction({"id": "p", "input": {"prompt": "a fox"}})
    assert found is not None
    assert found.input == PredictionInput("a fox", None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"outputs": None, "has_nsfw_contents": None, "timings": None, "error": None, "code": None},
        {"outputs": {}, "has_nsfw_contents": {}, "timings": [], "error": 5, "code": "x", "input": "y", "status": 1},
        {"outputs": "text", "created_at": 5, "model": [], "inputs": {"prompt": 1}, "executionTime": True},
    ],
)
def test_fields_of_the_wrong_type_count_as_missing(wrong: dict[str, Any]) -> None:
    found = parse_prediction({"id": "p", **wrong})
    assert found is not None
    assert (found.outputs, found.nsfw, found.error, found.code, found.input) == ((), (), "", None, None)
    assert (found.inference_ms, found.created_at) == (None, None)


@pytest.mark.parametrize("flags", [None, [], [True], ["yes", 1, None, True, True]])
def test_there_is_one_flag_an_output_and_only_booleans_count(flags: Any) -> None:
    found = parse_prediction({"id": "p", "outputs": [None, None], "has_nsfw_contents": flags})
    assert found is not None
    assert found.nsfw == ((True, None) if flags == [True] else (None, None))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"timings": {"inference": 25729}}, 25729),
        ({"timings": {"inference": 0}, "executionTime": 17}, 17),
        ({"executionTime": 17.5}, 17),
        ({"timings": {"inference": 0}}, 0),
    ],
)
def test_inference_time_comes_from_either_field(fields: dict[str, Any], expected: int) -> None:
    found = parse_prediction({"id": "p", **fields})
    assert found is not None
    assert found.inference_ms == expected


@pytest.mark.parametrize("data", [None, [], "p", {}, {"id": ""}, {"id": None}, {"id": 7}])
def test_what_has_no_id_is_no_prediction(data: Any) -> None:
    assert parse_prediction(data) is None


def test_error_text_loses_keys_and_signatures() -> None:
    found = parse_prediction({"id": "p", "error": "k1 https://x.example/a?sig=1"}, secret="k1")
    assert found is not None
    assert found.error == "[key] https://x.example/a?…"


def test_numbers_may_come_as_text_but_must_be_finite() -> None:
    price = parse_price({"price": "0.16", "discounted_price": None, "currency": None})
    assert price is not None
    assert (price.price, price.discounted_price, price.currency) == (0.16, 0.16, "USD")
    assert parse_price({"price": "NaN"}) is None
    assert parse_price(None) is None


def test_billing_names_its_prediction_in_either_place() -> None:
    nested = parse_billing(orjson.loads('{"uuid":"b","billing_type":"deduct","price":0.04,"prediction":{"uuid":"p"}}'))
    flat = parse_billing({"price": 0.04, "prediction_uuid": "p"})
    assert nested is not None
    assert flat is not None
    assert (nested.prediction_id, nested.billing_type, flat.prediction_id) == ("p", "deduct", "p")
