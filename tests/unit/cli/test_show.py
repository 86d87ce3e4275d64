"""How things are said, and how what people write is read."""

from typing import Any

import pytest
import typer

from darkroom.batches import Batch
from darkroom.cli.http import refused
from darkroom.cli.reading import is_batch, read_moment, read_pairs, read_seconds
from darkroom.cli.screens import Rate, batch_words, seconds_left
from darkroom.cli.show import batch_line, counted, duration, job_line, moment, plain, plural, shortened, size, usd
from darkroom.cli.summary import Ending
from darkroom.cli.tables import print_table

COST = {"currency": "USD", "unit_price": 0.04, "images_requested": 200, "images_delivered": 50}


def batch(**more: Any) -> Batch:
    fields: dict[str, Any] = {
        "id": "batch_1",
        "status": "running",
        "total": 1000,
        "counts": {"queued": 700, "generating": 40, "completed": 250, "failed": 10},
        "cost": {**COST, "estimated": 8.0, "spent": 2.0},
        "created_at": "2026-11-26T08:00:00Z",
    }
    return Batch.model_validate(fields | more)


def test_amounts() -> None:
    assert usd(1234.5) == "1,234.50 USD"
    assert [duration(seconds) for seconds in (0.4, 59, 61, 3_723, 360_000)] == [
        "0 s",
        "59 s",
        "1:01 min",
        "1:02:03 h",
        "100:00:00 h",
    ]
    assert [size(count) for count in (0, 999, 1_000, 2_500_000, 10**16)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "2.5 MB",
        "10000.0 TB",
    ]
    assert [plural(count, "image") for count in (0, 1, 2_000)] == ["0 images", "1 image", "2,000 images"]
    assert counted({"completed": 1200, "failed": 0, "expired": 1}) == "1,200 completed, 1 expired"
    assert counted({}) == "none"
    assert shortened("a\n  b" * 40, 9) == "a ba ba …"
    assert moment("2026-11-26T09:00:00.123+01:00") == "2026-11-26 08:00:00Z"
    assert moment(None) == ""


def test_a_job_in_a_line() -> None:
    job: dict[str, Any] = {"id": "job_1", "status": "queued", "outputs": [], "error": None, "finished_at": None}
    job["cost"] = COST | {"estimated": 0.16, "spent": 0.0, "images_requested": 4}
    assert job_line(job) == "job_1 queued: 4 images asked for, 0.16 USD estimated"
    expired = job | {"status": "expired", "finished_at": "2026-11-30T16:00:00.000Z"}
    assert job_line(expired) == "job_1 expired: 4 images asked for, nothing spent"
    done = job | {"status": "completed", "outputs": [{}], "cost": job["cost"] | {"spent": 0.16}}
    assert job_line(done) == "job_1 completed: 1 image, 0.16 USD spent"
    failed = job | {"status": "failed", "error": {"code": "upstream_failed", "message": "it\nfailed"}}
    assert job_line(failed) == "job_1 failed (upstream_failed): it failed"


def test_a_batch_in_a_line() -> None:
    assert batch_line(batch(held="budget").model_dump(mode="json")) == (
        "batch_1 running: 1,000 jobs: 700 queued, 40 generating, 250 completed, 10 failed; 2.00 USD of 8.00 USD spent,"
        " held: the day's budget is spent"
    )


def test_a_batch_under_way() -> None:
    words = "260 of 1,000 jobs · 40 generating, 10 failed · 60 images/min · 2.00 of 8.00 USD · 2:28 min left"
    assert batch_words(batch(), 60.0) == words
    assert batch_words(batch(), None) == "260 of 1,000 jobs · 40 generating, 10 failed · 2.00 of 8.00 USD"
    assert seconds_left(batch(estimated_seconds_left=7), 60.0) == 7
    assert batch_words(batch(held="budget"), 60.0).endswith("held: the day's budget is spent")


def test_the_rate_is_that_of_the_last_minute() -> None:
    rate = Rate()
    assert rate.per_minute is None
    rate.note(100, 0.0)
    assert rate.per_minute is None
    rate.note(110, 30.0)
    assert rate.per_minute == 20
    rate.note(110, 61.0)
    assert rate.per_minute == 0


def test_an_ending_names_what_failed_and_what_to_do() -> None:
    ended = batch(
        status="completed",
        counts={"completed": 990, "failed": 10},
        skipped={"lines": 1, "errors": [{"loc": ["line", 7, "size"], "msg": "must be WIDTH*HEIGHT"}]},
    ).model_dump(mode="json")
    ending = Ending(ended, {"content_moderation": 9, "upstream_failed": 1})
    assert ending.lines() == [
        "batch_1 completed: 1,000 jobs: 990 completed, 10 failed",
        "  content_moderation: 9",
        "  upstream_failed: 1",
        "1 bad line passed over",
        "  line 7 size: must be WIDTH*HEIGHT",
        "2.00 USD spent, 50 images",
        "fetch the images: darkroom watch batch_1 --download DIR",
        "let the others go on: darkroom retry batch_1; then run the same command again",
    ]
    assert ending.exit_code == 3
    assert ending.document()["failed_by_code"] == {"content_moderation": 9, "upstream_failed": 1}
    assert Ending(batch(counts={"completed": 1000}).model_dump(mode="json"), {}).exit_code == 0


def test_what_people_write_is_read() -> None:
    assert [read_seconds(text, option="-x") for text in (None, "90", "90s", "30m", "7d")] == [
        None,
        90,
        90,
        1800,
        604800,
    ]
    assert read_pairs(["a=1", "b=x=y", "c="], option="-x") == {"a": "1", "b": "x=y", "c": ""}
    assert read_moment("2026-11-25T08:00+00:00", option="-x").startswith("2026-11-25T")
    assert (is_batch("batch_1"), is_batch("job_1")) == (True, False)


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (lambda: read_seconds("soon", option="--expires-in"), "--expires-in: give seconds, or 30m, 24h, 7d"),
        (lambda: read_seconds("0", option="--expires-in"), "--expires-in: give seconds"),
        (lambda: read_pairs(["a"], option="--metadata"), "--metadata: 'a' is no KEY=VALUE pair"),
        (lambda: read_pairs(["a=1", "a=2"], option="--metadata"), "--metadata: the key a is there twice"),
        (lambda: read_moment("yesterday", option="--since"), "--since: give a time such as "),
        (lambda: is_batch("evt_1"), "'evt_1' is no id of a job (job_…) or a batch (batch_…)"),
    ],
)
def test_what_can_not_be_read_is_said_in_one_line(read: Any, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        read()
    assert ended.value.exit_code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"darkroom: {says}")


def test_ids_stay_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    job_id, prompt = "job_01M8PM0R7EXAMPLE0000000000", "a fox " * 40
    print_table(["job", "status", "prompt"], [[job_id, "completed", prompt]])
    line = capsys.readouterr().out.splitlines()[1]
    assert f"{job_id}  completed  a fox" in line
    assert line.rstrip().endswith("…")
    assert len(line) < 80


def test_nothing_is_cut_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    reason = "connection refused " * 20
    print_table(["webhook", "last attempt"], [["https://shop.example.com", reason]])
    assert reason.strip() in capsys.readouterr().out


HOSTILE = "a fox [/x] [red]here\x1b[2J\x9b2J\r\nfaked"


def test_others_texts_neither_style_nor_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["prompt"], [[HOSTILE]])
    refused(HOSTILE)
    said = capsys.readouterr()
    for text in (said.out, said.err, plain(HOSTILE), shortened(HOSTILE)):
        assert "[/x] [red]here\\x1b[2J\\x9b2J" in text
        assert not {"\x1b", "\x9b", "\r"} & set(text)
    assert said.err.count("\n") == 1
