"""Object keys as the contract spells them."""

from datetime import UTC, datetime

import pytest

from darkroom.storage import job_folder, job_json_key, output_key

NOON_MS = int(datetime(2026, 11, 2, 12, tzinfo=UTC).timestamp() * 1000)
JOB = "job_01JXYZ"


@pytest.mark.parametrize(
    ("prefix", "attempt", "index", "extension", "key"),
    [
        ("", 1, 0, "png", "2026/11/02/job_01JXYZ/00.png"),
        ("a/b", 1, 14, "webp", "a/b/2026/11/02/job_01JXYZ/14.webp"),
        ("/a/", 2, 3, "jpg", "a/2026/11/02/job_01JXYZ/attempt-2/03.jpg"),
        ("", 11, 0, "png", "2026/11/02/job_01JXYZ/attempt-11/00.png"),
    ],
)
def test_an_output_is_named_by_job_attempt_and_index(
    prefix: str, attempt: int, index: int, extension: str, key: str
) -> None:
    assert output_key(prefix, NOON_MS, JOB, attempt, index, extension) == key


def test_job_json_lies_beside_the_first_attempts_outputs() -> None:
    assert job_json_key("p", NOON_MS, JOB) == "p/2026/11/02/job_01JXYZ/job.json"
    assert job_folder("p", NOON_MS, JOB) == "p/2026/11/02/job_01JXYZ"


def test_the_date_is_utcs_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    last_ms = int(datetime(2026, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC).timestamp() * 1000)
    assert job_folder("", last_ms, JOB) == "2026/12/31/job_01JXYZ"
    assert job_folder("", last_ms + 1, JOB) == "2027/01/01/job_01JXYZ"
