"""Each script says what it does; what it says is true; what it answers is understood."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from darkroom.errors import DarkroomError
from darkroom.jobs import JobError, JobRequest
from darkroom.line.lanes import LaneStore
from darkroom.store.attempts import AttemptStore, Ticket
from darkroom.store.batches import BatchStore
from darkroom.store.deliveries import ClaimedDelivery, DeliveryStore
from darkroom.store.jobs import JobStore
from darkroom.store.scripts import FOLDERS, sources
from darkroom.store.uploads import UploadStore
from darkroom.store.webhook_secrets import WebhookSecrets

FILES = {path.stem: path.read_text() for folder in FOLDERS for path in sorted(folder.glob("[a-z]*.lua"))}
MAY_BE_REFUSED_WHEN_FULL = {"enqueue", "retry", "redeliver", "admit"} | {
    "begin_batch",
    "stage_lines",
    "hear_uploader",
    "link_batch",
    "retry_batch",
    "sweep_retry",
}
"""What takes up new work; everything else goes on at the memory limit."""

READS = {"read_job", "line_next"}
T = Ticket("job_1", 1, 1)
ERROR = JobError(code="upstream_failed", message="x", retryable=True)
CLAIMED = ClaimedDelivery("dlv_1", "1", 1, {}, {})

CALLERS: dict[str, Callable[[Redis], Awaitable[Any]]] = {
    "attempt_failed": lambda r: AttemptStore(r).failed(T, ERROR),
    "begin_submit": lambda r: AttemptStore(r).begin_submit(T, lease_ms=1, sync_lease_ms=1, key="k"),
    "begin_batch": lambda r: UploadStore(r).begin("a", webhook=None, metadata={}, idempotency_key=None, max_queued=1),
    "bring_back": lambda r: AttemptStore(r).bring_back(T, delay_ms=1),
    "cancel": lambda r: JobStore(r).cancel("job_1"),
    "cancel_batch": lambda r: BatchStore(r).cancel("batch_1"),
    "claim_delivery": lambda r: DeliveryStore(r).claim("dlv_1", "1", lease_ms=1),
    "claim_store": lambda r: AttemptStore(r).claim_store(T, lease_ms=1),
    "complete": lambda r: AttemptStore(r).complete(T, delivered=1, finished_ms=1),
    "enqueue": lambda r: JobStore(r).enqueue("a", JobRequest(prompt="x")),
    "hand_over": lambda r: AttemptStore(r).hand_over(T, sources="", inference_ms=1, polls=1, wait_ms=1),
    "hear_uploader": lambda r: UploadStore(r).hear("batch_1"),
    "link_batch": lambda r: UploadStore(r).link("batch_1", fingerprint="f", max_queued=1),
    "lane_limits": lambda r: LaneStore(r).change_limits("default", images_per_minute=1, max_concurrency=1),
    "lane_state": lambda r: LaneStore(r).pause("default", "auth"),
    "resolve": lambda r: JobStore(r).resolve("job_1", "give_up", by="ops"),
    "resumed": lambda r: AttemptStore(r).resumed(T),
    "redeliver": lambda r: DeliveryStore(r).redeliver("dlv_1"),
    "retry": lambda r: JobStore(r).retry("job_1"),
    "retry_batch": lambda r: BatchStore(r).retry("batch_1", []),
    "rotate_secret": lambda r: WebhookSecrets(r).rotate("a", overlap_s=1),
    "save_output": lambda r: AttemptStore(r).save_output(T, 0, "{}"),
    "settle_delivery": lambda r: DeliveryStore(r).settle(CLAIMED, "gone", next_in_ms=None, attempts=[]),
    "stage_lines": lambda r: UploadStore(r).stage("batch_1", []),
    "store_later": lambda r: AttemptStore(r).store_later(T, delay_ms=1, message=""),
    "submit_absent": lambda r: AttemptStore(r).absent(T, look_in_ms=1, mark="m", began_ms=1),
    "submit_accepted": lambda r: AttemptStore(r).accepted(T, send=1, prediction_id="p", look_in_ms=1),
    "submit_returned": lambda r: AttemptStore(r).returned(T, "absent"),
    "submit_unknown": lambda r: AttemptStore(r).unknown(T, look_in_ms=1, message=""),
    "take_over": lambda r: AttemptStore(r).take_over("job_1", prediction_id="p", lane="default", created_ms=1),
    "tell_batch": lambda r: BatchStore(r).tell("batch_1", 1, {}),
    "time_out": lambda r: AttemptStore(r).time_out(T, ERROR),
    "unadmit": lambda r: AttemptStore(r).unadmit([T]),
}


def header_of(name: str) -> str:
    """Give the comment that a script begins with, on one line."""
    lines = FILES[name].splitlines()
    comment = []
    for line in lines[lines[0].startswith("#!") :]:
        if not line.startswith("-- "):
            break
        comment.append(line.removeprefix("-- ").strip())
    return " ".join(comment)


def body_of(name: str) -> str:
    """Give what comes after that comment."""
    return "\n".join(line for line in FILES[name].splitlines() if not line.startswith(("--", "#!")))


def refusals_of(name: str) -> dict[int, Any]:
    """Give the negative codes that a script's body answers with, each in the form it answers in."""
    codes: dict[int, Any] = {}
    for brace, code in re.findall(r"return (\{ ?)?-(\d+)\b", body_of(name)):
        codes[-int(code)] = [-int(code), 0] if brace else -int(code)
    return codes


@pytest.mark.parametrize("name", FILES)
def test_header_says_purpose_arguments_and_answers(name: str) -> None:
    header = header_of(name)
    assert re.match(r"[A-Z].{20,}", header)
    assert "ARGV: " in header
    assert "-> " in header


@pytest.mark.parametrize("name", FILES)
def test_header_names_every_argument_that_the_body_reads(name: str) -> None:
    arguments = header_of(name).partition("ARGV: ")[2].partition("-> ")[0]
    read = {int(number) for number in re.findall(r"ARGV\[(\d+)\]", body_of(name))}
    assert read <= {int(number) for number in re.findall(r"(?:^|, )(\d+) ", arguments)}


@pytest.mark.parametrize("name", [name for name in FILES if refusals_of(name)])
def test_header_names_every_refusal(name: str) -> None:
    told = {int(code) for code in re.findall(r"-\d+", header_of(name).partition("-> ")[2])}
    assert set(refusals_of(name)) <= told


@pytest.mark.parametrize("name", FILES)
def test_script_that_changes_a_state_says_from_where_to_where(name: str) -> None:
    if re.search(r"set_status\(|finish\(|'HSET', .*'state', '(?!paused|open)", body_of(name)):
        assert re.search(r"\bfrom .* to ", header_of(name))


@pytest.mark.parametrize("name", FILES)
def test_only_what_takes_up_work_is_refused_by_a_full_store(name: str) -> None:
    flags = FILES[name].partition("\n")[0]
    expected = "no-writes" if name in READS else "allow-oom"
    assert (f"flags={expected}" in flags) == (name not in MAY_BE_REFUSED_WHEN_FULL)


@pytest.mark.parametrize("name", FILES)
def test_script_never_walks_the_whole_store_nor_asks_another_clock(name: str) -> None:
    assert not re.search(r"'(SCAN|KEYS|[HSZ]SCAN)'|os\.", sources()[name])


def test_the_documentation_says_of_every_script_what_a_repeated_call_does() -> None:
    table = (Path(__file__).parents[3] / "docs" / "redis.md").read_text().partition("| script |")[2]
    assert set(re.findall(r"`(\w+)`", table)) == set(FILES)


def test_every_refusing_script_has_its_caller_here() -> None:
    assert {name for name in FILES if refusals_of(name)} == set(CALLERS)


@pytest.mark.parametrize(
    ("name", "code", "answer"),
    [(name, code, answer) for name in CALLERS for code, answer in refusals_of(name).items()],
)
async def test_every_refusal_is_understood(name: str, code: int, answer: object) -> None:
    """The caller gives a value of its own or raises an error that has a name; an unknown code would be a bug."""

    class Answering:
        def pipeline(self, **_: object) -> "Answering":
            return self

        def evalsha(self, *_: object) -> None:
            return None

        async def execute(self, **_: object) -> list[object]:
            return [answer]

    try:
        given = await CALLERS[name](Answering())  # type: ignore[arg-type]
    except (DarkroomError, KeyError):
        return
    assert given in (None, False) or given == code
