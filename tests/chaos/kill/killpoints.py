"""`python -m tests.chaos.kill.killpoints`: kill at every point, several times each, and write what came of it.

Each kill is followed by a new process at once, and the next kill does not wait for the first one's jobs: a job may meet
several. `bench/results/killpoints.jsonl` holds every kill, `killpoints.md` the table of all of them.
"""

import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from mypy_boto3_s3 import S3Client

from darkroom.checkpoints import Checkpoint
from darkroom.store import keys
from deploy.embedded.s3 import embedded_s3
from deploy.embedded.valkey import embedded_valkey
from simulator.testing import running_simulator
from tests.chaos.kill.batch_judge import judge_batch
from tests.chaos.kill.batches import BATCH_POINTS, PostedBatch
from tests.chaos.kill.judge import judge, judge_job
from tests.chaos.kill.points import POINTS, Point, repeat_until_accepted
from tests.chaos.kill.rig import QUICK, Rig
from tests.support.s3 import s3_client

ROOT = Path(__file__).parents[3]
RECOVER_S = 200.0
API_POINTS = {
    "api: before the job is stored": Checkpoint.API_BEFORE_ENQUEUE,
    "api: stored, not answered": Checkpoint.API_ENQUEUED,
}
NAMES = [*API_POINTS, *(point.name for point in POINTS), *(point.name for point in BATCH_POINTS)]


def main(
    times: Annotated[int, typer.Option(min=1, help="How often each point is killed at.")] = 5,
    points: Annotated[str, typer.Option(help="Only points whose names begin so; comma-separated.")] = "",
    minutes: Annotated[float, typer.Option(help="Kill no more after so long; the rest is waited for.")] = 60.0,
    append: Annotated[
        bool,
        typer.Option(help="Add to what was measured before, beginning with the points that have the fewest kills."),
    ] = False,
    out: Annotated[Path, typer.Option(help="Where results are written.")] = ROOT / "bench" / "results",
) -> None:
    """Kill, judge and write the table; ends with 1 when anything is not as it must be."""
    starts = tuple(filter(None, points.split(",")))
    wanted = [name for name in NAMES if name.startswith(starts or "")]
    raw = out / "killpoints.jsonl"
    before = [json.loads(line)["point"] for line in raw.read_text().splitlines()] if append and raw.exists() else []
    plan = sorted(wanted * times, key=_by_turns(Counter(before)))
    with _rig() as rig:
        kills = _kill_at(rig, plan, time.monotonic() + minutes * 60)
        rig.wait_for_all(RECOVER_S)
        rows, problems = _rows(rig, kills), judge(rig)
        problems += [problem for row in rows for problem in row.pop("problems", ())]
    with raw.open("a" if append else "w") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    table = _table([json.loads(line) for line in raw.read_text().splitlines()])
    (out / "killpoints.md").write_text(table)
    typer.echo(table)
    for problem in problems:
        typer.echo(problem, err=True)
    raise typer.Exit(1 if problems else 0)


@contextmanager
def _rig() -> Iterator[Rig]:
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-kill-") as scratch,
        embedded_valkey(Path(scratch, "valkey")) as valkey,
        embedded_s3(Path(scratch, "s3")) as s3,
        running_simulator(**QUICK) as simulator,
    ):
        Path(scratch, "checkpoints").mkdir()
        client = s3_client(s3)
        client.create_bucket(Bucket="killpoints")
        client.close()
        rig = Rig(valkey, s3, "killpoints", simulator, Path(scratch, "checkpoints"))
        try:
            rig.api()
            rig.worker()
            yield rig
        finally:
            rig.close()


def _by_turns(kills: Counter[str]) -> Callable[[str], int]:
    """Make a key that lets every point have as many kills as any other before one has more."""

    def turn(name: str) -> int:
        kills[name] += 1
        return kills[name]

    return turn


def _kill_at(rig: Rig, plan: list[str], until_s: float) -> list[dict[str, Any]]:
    kills: list[dict[str, Any]] = []
    by_name: dict[str, Point] = {point.name: point for point in POINTS}
    of_batches = {point.name: point for point in BATCH_POINTS}
    for name in plan:
        if time.monotonic() > until_s:
            break
        typer.echo(f"{len(kills) + 1}/{len(plan)} {name}", err=True)
        if name in of_batches:
            batch = of_batches[name].kill_at(rig)
            kills.append({"point": name, "batch": batch, "killed_ms": batch.killed_ms})
            continue
        known = set(rig.jobs)
        if name in API_POINTS:
            job_id, killed_ms = _kill_api(rig, name)
        else:
            caught, job_id = by_name[name].catch(rig)
            caught.kill()
            killed_ms = _now_ms()
            rig.worker()
        kills.append({"point": name, "job": job_id, "killed_ms": killed_ms, "posted": sorted(set(rig.jobs) - known)})
    return kills


def _kill_api(rig: Rig, name: str) -> tuple[str, int]:
    killed_ms = _now_ms()
    answer, _ = repeat_until_accepted(rig, name, API_POINTS[name])
    return answer.json()["id"], killed_ms


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def _rows(rig: Rig, kills: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say of each kill what became of the job it caught and of those posted for it; seconds are until it was told."""
    client = s3_client(rig.s3)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    rows = []
    for kill in kills:
        if "batch" in kill:
            rows.append(_batch_row(rig, client, kill["batch"], commit))
            continue
        jobs = {kill["job"], *kill["posted"]}
        verdicts = [judge_job(rig, client, job_id) for job_id in jobs]
        rows.append(
            {
                "point": kill["point"],
                "at": datetime.fromtimestamp(kill["killed_ms"] / 1000, UTC).isoformat(timespec="seconds"),
                "commit": commit,
                "jobs": len(jobs),
                "predictions_per_attempt": max(verdict.predictions / verdict.attempts for verdict in verdicts),
                "lost": sum(not verdict.completed for verdict in verdicts),
                "doubled_ids": sum(verdict.webhook_ids > 1 for verdict in verdicts),
                "recovered_s": max(0, _told_ms(rig, kill["job"]) - kill["killed_ms"]) / 1000,
            }
        )
    client.close()
    return rows


def _batch_row(rig: Rig, client: S3Client, batch: PostedBatch, commit: str) -> dict[str, Any]:
    """Say what became of the batch of one kill; seconds are from the last of its kills until it was told."""
    verdict = judge_batch(rig, client, batch.batch_id, ends=batch.ends)
    return {
        "point": batch.label,
        "at": datetime.fromtimestamp(batch.killed_ms / 1000, UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "jobs": len(batch.jobs),
        "predictions_per_attempt": verdict.predictions,
        "lost": verdict.lost,
        "doubled_ids": int(verdict.webhook_ids > 1),
        "recovered_s": max(0, _delivered_ms(rig.deliveries_of(keys.batch(batch.batch_id))) - batch.killed_ms) / 1000,
        "problems": [f"{batch.label}, {batch.batch_id}: {problem}" for problem in verdict.problems],
    }


def _told_ms(rig: Rig, job_id: str) -> int:
    return _delivered_ms(rig.deliveries(job_id))


def _delivered_ms(deliveries: list[dict[str, str]]) -> int:
    last = json.loads(deliveries[0]["attempts"])[-1]
    return int(last["at_ms"] + last["duration_ms"])


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["point", "killed", "jobs", "predictions per attempt (max)", "lost", "webhook ids doubled"]
    lines = [
        "# Killed at every point\n",
        "`make killpoints`: SIGKILL of the whole process at the point; another one is started at once. A submit lasts",
        "1 s at most, a lost one is looked for for 3 s. Seconds run from the kill until the job at the point was",
        "complete and told of; they are mostly leases that have to lapse, and the ten seconds after which a lost",
        "Celery message is sent again. A job may meet several kills. Of a batch, whose points have two kills where a",
        "sweep of an ingress and of a worker is cut short, they run until it was told of.\n",
        f"| {' | '.join(head)} | seconds to recover (median) | (max) |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in NAMES:
        of_point = [row for row in rows if row["point"] == name]
        if of_point:
            lines.append(_line(name, of_point))
    lines.append(_line("**all**", rows))
    return "\n".join(lines) + f"\n\nRevision {rows[-1]['commit'][:10]}, {rows[-1]['at']}.\n"


def _line(name: str, rows: list[dict[str, Any]]) -> str:
    jobs, lost, doubled = (sum(row[what] for row in rows) for what in ("jobs", "lost", "doubled_ids"))
    most = max(row["predictions_per_attempt"] for row in rows)
    seconds = [row["recovered_s"] for row in rows]
    cells = [name, len(rows), jobs, f"{most:g}", lost, doubled, f"{median(seconds):.1f}", f"{max(seconds):.1f}"]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    typer.run(main)
