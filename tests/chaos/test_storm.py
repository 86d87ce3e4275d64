"""A short storm of random kills and faults, judged by all that is promised. The seed is printed; `make chaos` goes on.

A failure is a defect to be found: run `python -m tests.chaos.storm --seed …` again, and read the histories it keeps.
"""

import secrets
from pathlib import Path

import pytest

from tests.chaos.storm.plan import Shape, draw
from tests.chaos.storm.run import run_storm

SHORT = Shape(
    jobs=60,
    storm_s=9.0,
    workers=2,
    strike_every_s=0.9,
    strikes=(
        ("worker_kill", 2),
        ("worker_freeze", 1),
        ("api_kill", 2),
        ("valkey_kill", 1),
        ("s3_kill", 1),
        ("upstream_freeze", 1),
        ("submit_fault", 4),
        ("other_fault", 3),
    ),
    longest_freeze_s=8.0,
    sync=False,
)


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    assert draw(7, SHORT) == draw(7, SHORT)
    assert draw(7, SHORT) != draw(8, SHORT)


@pytest.mark.timeout(240)
def test_whatever_is_killed_every_job_ends_once_paid_once_and_told_of(tmp_path: Path) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")  # noqa: T201 - it is all that is needed to repeat it
    verdict = run_storm(seed, SHORT, tmp_path, settle_s=150)
    print(verdict.text())  # noqa: T201
    assert verdict.findings == []
    assert verdict.totals["jobs accepted"] == SHORT.jobs
    assert verdict.totals["predictions"] > SHORT.jobs // 2, "the storm let hardly anything through"
