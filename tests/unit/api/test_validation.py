"""Reading a body: what pydantic finds becomes words that say how to mend it."""

import json

import pytest

from api.body import parse_job
from api.problems import CODES, Problem
from darkroom.jobs import JobRequest


def refusal(body: bytes) -> Problem:
    with pytest.raises(Problem) as refused:
        parse_job(body)
    return refused.value


def test_a_plain_request_is_read_with_its_defaults() -> None:
    job = parse_job(b'{"prompt": "a fox"}')
    assert (job.size, job.max_images, job.priority) == ("2048*2048", 1, "normal")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_images": 16}, "must be 15 or less"),
        ({"max_images": 0}, "must be 1 or more"),
        ({"max_images": "3"}, "must be a whole number"),
        ({"prompt": "x" * 10_001}, "must have 10000 characters or fewer"),
        ({"priority": "urgent"}, "must be one of 'low', 'normal' or 'high'"),
        ({"enable_sync_mode": 1}, "must be true or false"),
        ({"metadata": []}, "must be an object of text values"),
        ({"prompt": ""}, "must not be empty"),
        ({"metadata": {"": ""}}, "its key must not be empty"),
        ({"size": "1*1"}, "each side must be 1440 to 4096 pixels"),
        ({"webhook": "https://example.com"}, "must be an object"),
        ({"colour": "red"}, f"is not known; known are {', '.join(JobRequest.model_fields)}"),
        ({"max_image": 3}, "is not known; did you mean max_images?"),
    ],
)
def test_each_kind_of_error_says_how_to_mend_it(fields: dict[str, object], message: str) -> None:
    problem = refusal(json.dumps({"prompt": "a fox"} | fields).encode())
    assert [error.msg for error in problem.errors] == [message]


def test_the_detail_names_the_first_field_and_counts_the_rest() -> None:
    problem = refusal(b'{"max_images": 16, "size": "x"}')
    assert problem.detail == "body.prompt: is required (and 2 more)"


def test_every_code_has_an_error_status_and_a_title() -> None:
    assert all(400 <= status < 600 and title for status, title in CODES.values())
