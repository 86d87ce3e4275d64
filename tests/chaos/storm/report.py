"""What a storm comes down to: totals, recoveries, and what the offending jobs went through."""

import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from darkroom.store.records import status_changes
from tests.chaos.storm.judge import Evidence
from tests.support.cell import TERMINAL

UNDER_WAY = ("submitting", "unconfirmed", "generating", "storing")
MOST_HISTORIES = 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one storm. `recoveries_s` holds a value for each strike that met jobs under way."""

    seed: int
    totals: dict[str, int]
    struck: dict[str, int]
    recoveries_s: list[float]
    settled_after_s: float
    findings: list[str]
    folder: Path

    def text(self) -> str:
        """Say it all in a readable table."""
        rows = [*self.totals.items(), *((f"struck: {kind}", count) for kind, count in sorted(self.struck.items()))]
        width = max(len(name) for name, _ in rows)
        lines = [f"seed {self.seed}", *(f"  {name:<{width}} {count:>8,}" for name, count in rows)]
        lines.append(f"  {'longest recovery':<{width}} {max(self.recoveries_s, default=0.0):>8.1f} s")
        lines.append(f"  {'at rest after the healing':<{width}} {self.settled_after_s:>8.1f} s")
        if self.findings:
            lines += [
                f"  {len(self.findings)} findings; logs in {self.folder}",
                *(f"  - {one}" for one in self.findings),
            ]
        return "\n".join(lines)


def totals(it: Evidence) -> dict[str, int]:
    """Count what the issue asks for and what explains it."""
    statuses = Counter(job["status"] for job in it.cell.jobs.values())
    known = {one for job_id in it.cell.jobs for one in it.known(job_id)}
    orphans = [entry for entry in it.ledger if entry["id"] not in known]
    sent = sum(int(item.record.get("sends", 0)) > 0 for item in it.cell.attempts)
    errors = Counter(orjson.loads(job["error"])["code"] for job in it.cell.jobs.values() if job.get("error"))
    ids = Counter((event["job"], event["type"], event["at_ms"]) for _, event in it.cell.under("event:"))
    taken = Counter(hook.webhook_id for hook in it.hooks if hook.answered == 204)
    return {
        "jobs accepted": len(it.notes.jobs),
        "batches accepted": len(it.notes.batches),
        **{name: statuses[name] for name in TERMINAL},
        "lost": len(it.plan.posts) - sum(statuses[name] for name in TERMINAL),
        "submit_unconfirmed": errors["submit_unconfirmed"],
        "attempts sent": sent,
        "sends": sum(int(item.record.get("sends", 0)) for item in it.cell.attempts),
        "predictions": len(it.ledger),
        "paid twice": sum(len(it.duplicates(job_id)) for job_id in it.cell.jobs) + _bought_too_many(it),
        "adopted": sum(item.record.get("adopted") == "1" for item in it.cell.attempts),
        "surely absent": sum(int(item.record.get("absent", 0)) for item in it.cell.attempts),
        "orphans": len(orphans),
        "webhook events": len(ids),
        "webhook ids duplicated": sum(count - 1 for count in ids.values()),
        "webhooks sent again after a 204": sum(count - 1 for count in taken.values()),
        "retries asked for": sum(it.notes.retries.values()),
        "calls by customers": it.notes.tries,
        "images upstream saw in 60 s, at most": _most_in_a_minute(it.ledger),
    }


def _bought_too_many(it: Evidence) -> int:
    return sum(
        max(
            0,
            len(it.by_prompt[prompt])
            - sum(int(item.record.get("sends", 0)) > 0 for job_id in job_ids for item in it.attempts[job_id]),
        )
        for prompt, job_ids in it.askers.items()
    )


def _most_in_a_minute(ledger: list[dict[str, Any]]) -> int:
    most, inside, first = 0, 0, 0
    entries = sorted(ledger, key=lambda entry: float(entry["received_at"]))
    for entry in entries:
        inside += entry["max_images"]
        while entries[first]["received_at"] <= entry["received_at"] - 60:
            inside -= entries[first]["max_images"]
            first += 1
        most = max(most, inside)
    return most


def recoveries_s(it: Evidence, struck_at: list[tuple[float, str]]) -> list[float]:
    """Give for each strike the longest that a job which was under way then took until its next step."""
    histories = [status_changes(job) for job in it.cell.jobs.values()]
    moments = [([change.at_ms for change in history], history) for history in histories]
    found = []
    for at_s, kind in struck_at:
        if not kind.endswith(("_kill", "_freeze", "_term")):
            continue
        waits = []
        for times, history in moments:
            place = bisect_right(times, at_s * 1000)
            if 0 < place < len(history) and history[place - 1].status in UNDER_WAY:
                waits.append((times[place] - at_s * 1000) / 1000)
        if waits:
            found.append(max(waits))
    return found


def keep_histories(it: Evidence, findings: list[str], folder: Path) -> None:
    """Write all that is known of the offending jobs into the folder, and all findings."""
    offenders = list(dict.fromkeys(re.findall(r"job_[0-9A-Z]{26}", "\n".join(findings))))
    (folder / "findings.txt").write_text("\n".join(findings) + "\n")
    told = [
        {
            "job": job_id,
            "record": it.cell.jobs.get(job_id),
            "attempts": {item.number: item.record for item in it.attempts[job_id]},
            "ledger": it.by_prompt[it.shown[job_id]["request"]["prompt"]] if job_id in it.shown else [],
            "hooks": [(hook.webhook_id, hook.body["type"], hook.answered) for hook in it.hooks
                      if hook.body["data"]["id"] == job_id],
        }
        for job_id in offenders[:MOST_HISTORIES]
    ]  # fmt: skip
    (folder / "histories.json").write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
