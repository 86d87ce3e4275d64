"""A sheet, then a strip: each once, whatever is sent twice or killed in between."""

import signal
import socket
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from simulator.testing import RunningSimulator
from tests.integration.examples.conftest import Folder
from tests.support.fleet import Fleet
from tests.support.launched import Launched
from tests.support.waiting import wait_until

PIPELINE, START = "pipeline/pipeline.py", "pipeline/start.py"
REMEMBER = '            with db:\n                db.execute("UPDATE'


@pytest.fixture
def port() -> int:
    """Give a free port, the same for every start of one test's receiver."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
        return number


class Pipeline:
    """A receiver that may be killed and started again, and what it has written down."""

    def __init__(self, folder: Folder, fleet: Fleet, port: int) -> None:
        self._folder, self._fleet, self._port = folder, fleet, port
        self.url = f"http://127.0.0.1:{port}/"

    def serve(self, script: str = PIPELINE) -> Launched:
        """Start the receiver and wait until it listens."""
        program = self._folder.start(script, "--port", str(self._port))
        assert program.url == self.url
        return program

    def serve_killed_before(self, line: str) -> Launched:
        """Start one that kills itself just before this line of its source."""
        return self.serve(self._folder.killed_before(PIPELINE, line))

    def serve_blind(self) -> Launched:
        """Start one that looks for no job by its metadata."""
        lookup = "        return following\n"
        return self.serve(self._folder.changed(PIPELINE, lookup, "        pass\n"))

    def begin(self, hero: str) -> str:
        """Post a first job and give its id."""
        return self._folder.run(START, hero, "--receiver", self.url).out[0].strip()

    def steps(self) -> list[tuple[Any, ...]]:
        """Give job, step, images, money and next job of what was done, in the order in which it came."""
        with sqlite3.connect(self._folder.directory / "pipeline.sqlite3", timeout=30) as db:
            rows = db.execute("SELECT job, step, images, spent_usd, next_job FROM steps ORDER BY rowid").fetchall()
        db.close()
        return rows

    def wait_for_steps(self, number: int) -> list[tuple[Any, ...]]:
        """Wait until so many steps are done, what follows them posted too."""

        def done() -> list[tuple[Any, ...]]:
            rows = self.steps()
            return rows if len(rows) == number and all(row[-1] is not None for row in rows) else []

        return wait_until(done, 60, what=f"{number} steps to be done")

    def jobs(self, hero: str) -> list[dict[str, Any]]:
        """Give the jobs about somebody, newest first."""
        answer = self._fleet.client.get("/v1/jobs", params={"metadata.character": hero})
        data: list[dict[str, Any]] = answer.json()["data"]
        return data

    def send_again(self, job_id: str) -> None:
        """Have a job's webhook sent once more and wait until it was answered."""

        def delivery() -> dict[str, Any]:
            (only,) = self._fleet.client.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]
            return dict(only)

        wait_until(lambda: delivery()["status"] == "delivered", what="the first one to be delivered")
        before = len(delivery()["attempts"])
        answer = self._fleet.client.post(f"/v1/deliveries/{delivery()['id']}/redeliver")
        assert answer.status_code == 202, answer.text
        wait_until(lambda: len(delivery()["attempts"]) > before, what="the second one to be delivered")
        assert delivery()["attempts"][-1]["status_code"] == 204


@pytest.fixture
def pipeline(folder: Folder, fleet: Fleet, port: int) -> Pipeline:
    return Pipeline(folder, fleet, port)


def test_the_sheets_end_begins_the_strip_and_the_strips_end_nothing(
    pipeline: Pipeline, hero: str, simulator: RunningSimulator
) -> None:
    program = pipeline.serve()
    sheet = pipeline.begin(hero)
    first, second = pipeline.wait_for_steps(2)
    strip = first[-1]
    assert first == (sheet, "sheet", 4, 0.16, strip)
    assert second == (strip, "strip", 4, 0.16, "")
    newest, oldest = pipeline.jobs(hero)
    assert (newest["id"], oldest["id"]) == (strip, sheet)
    assert newest["metadata"] == {"pipeline_step": "strip", "character": hero, "after": sheet}
    assert hero in newest["request"]["prompt"]
    assert pipeline.begin(hero) == sheet
    assert simulator.ledger(hero)["totals"]["predictions"] == 2
    assert program.stop(signal.SIGINT) == 0
    assert "Traceback" not in program.output


def test_webhooks_that_come_twice_do_nothing_more(pipeline: Pipeline, hero: str, simulator: RunningSimulator) -> None:
    program = pipeline.serve()
    sheet = pipeline.begin(hero)
    rows = pipeline.wait_for_steps(2)
    pipeline.send_again(sheet)
    pipeline.send_again(rows[1][0])
    program.stop(signal.SIGKILL)
    pipeline.serve()
    pipeline.send_again(sheet)
    pipeline.begin(f"{hero}'s sister")  # once this is through, whatever came before is as well
    assert pipeline.wait_for_steps(4)[:2] == rows
    assert simulator.ledger(hero)["totals"]["predictions"] == 4


@pytest.mark.parametrize(
    "line",
    [
        "    with db:  # on the disk before it is answered",
        "    work.set()",
        "    return await darkroom.submit(",
        REMEMBER,
    ],
    ids=["before it is written down", "before it is answered", "before the post", "after the post"],
)
def test_killed_in_between_each_step_is_still_done_once(
    pipeline: Pipeline, hero: str, line: str, simulator: RunningSimulator
) -> None:
    program = pipeline.serve_killed_before(line)
    sheet = pipeline.begin(hero)
    assert program.wait() == -signal.SIGKILL, program.output
    pipeline.serve()
    first, second = pipeline.wait_for_steps(2)
    assert (first[0], first[1], second[0], second[1]) == (sheet, "sheet", first[-1], "strip")
    assert len(pipeline.jobs(hero)) == simulator.ledger(hero)["totals"]["predictions"] == 2


def test_a_job_whose_key_is_forgotten_is_found_by_its_metadata(
    pipeline: Pipeline, hero: str, simulator: RunningSimulator, forget_keys: Callable[[], None]
) -> None:
    program = pipeline.serve_killed_before(REMEMBER)
    pipeline.begin(hero)
    assert program.wait() == -signal.SIGKILL, program.output
    forget_keys()
    pipeline.serve()
    pipeline.wait_for_steps(2)
    assert simulator.ledger(hero)["totals"]["predictions"] == 2


def test_a_job_that_is_not_found_by_its_metadata_is_the_same_by_its_key(
    pipeline: Pipeline, hero: str, simulator: RunningSimulator
) -> None:
    program = pipeline.serve_killed_before(REMEMBER)
    pipeline.begin(hero)
    assert program.wait() == -signal.SIGKILL, program.output
    pipeline.serve_blind()
    pipeline.wait_for_steps(2)
    assert simulator.ledger(hero)["totals"]["predictions"] == 2


def test_what_fails_is_said_and_goes_on_once_it_was_retried(
    pipeline: Pipeline, fleet: Fleet, hero: str, simulator: RunningSimulator
) -> None:
    program = pipeline.serve()
    sheet = pipeline.begin(f"{hero} [[sim:inference=600]]")
    wait_until(lambda: simulator.predictions(hero), what="it to be upstream")
    fleet.wait_for(sheet, "generating")
    simulator.fail(simulator.predictions(hero)[0]["id"], 1200)
    wait_until(lambda: f"{sheet} (sheet) is failed" in program.output, what="the failure to be said")
    assert pipeline.steps() == []
    assert fleet.client.post(f"/v1/jobs/{sheet}/retry", params={"fresh": "true"}).status_code in (200, 202)
    held: list[str] = []

    def complete_all() -> bool:
        for item in simulator.predictions(hero):
            if item["status"] not in ("completed", "failed"):
                simulator.complete(item["id"])
                held.append(item["id"])
        return len(set(held)) == 2

    wait_until(complete_all, 30, what="the sheet's second attempt and the strip to be upstream")
    assert [row[1] for row in pipeline.wait_for_steps(2)] == ["sheet", "strip"]


def test_what_is_not_of_the_pipeline_or_not_genuine_is_left_alone(pipeline: Pipeline, fleet: Fleet, hero: str) -> None:
    pipeline.serve()
    stranger = fleet.submit(f"{hero}, somebody else's", webhook={"url": pipeline.url})
    fleet.wait_for(stranger)
    pipeline.send_again(stranger)
    headers = {"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    assert fleet.client.post(pipeline.url, content=b"{}", headers=headers).status_code == 401
    assert pipeline.steps() == []
