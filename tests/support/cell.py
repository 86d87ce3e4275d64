"""Everything a Redis holds of Darkroom, read at once, for tests that judge the whole and not one answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis

from darkroom.store import keys
from darkroom.store.batch_ids import line_of

LIVE = ("admitted", "submitting", "unconfirmed", "generating", "storing")
HOLDS_SLOT = ("admitted", "submitting", "unconfirmed", "generating")
TERMINAL = ("completed", "failed", "canceled", "expired")

_READERS = {"hash": ("hgetall",), "string": ("get",), "set": ("smembers",), "list": ("lrange", 0, -1)}


@dataclass(frozen=True)
class Attempt:
    """One attempt's record."""

    job_id: str
    number: int
    record: dict[str, str]

    @property
    def member(self) -> str:
        """Its name in slots and as an owner."""
        return f"{self.job_id}:{self.number}"

    @property
    def state(self) -> str:
        """What it is doing; empty before its first admission."""
        return self.record.get("state", "")

    @property
    def live(self) -> bool:
        """Whether somebody still has to do something about it."""
        return self.state in LIVE


@dataclass(frozen=True)
class Cell:
    """Keys with their values and what is left of their lives (ms, -1: for ever)."""

    values: dict[str, Any]
    ttl_ms: dict[str, int]

    @classmethod
    def read(cls, client: "redis.Redis", *, match: str = "*") -> "Cell":
        """Read it all; meant for the small stores of tests. `match` leaves out keys of others, such as the broker's."""
        names = sorted(str(name) for name in client.keys(match))
        pipe = client.pipeline(transaction=True)
        for name in names:
            pipe.type(name)
            pipe.pttl(name)
        answers = pipe.execute()
        types, lives = dict(zip(names, answers[::2], strict=True)), dict(zip(names, answers[1::2], strict=True))
        names = [name for name in names if types[name] != "none"]  # a flag may lapse meanwhile
        for name in names:
            kind = types[name]
            if kind == "zset":
                pipe.zrange(name, 0, -1, withscores=True)
            else:
                reader, *arguments = _READERS[kind]
                getattr(pipe, reader)(name, *arguments)
        values = {
            name: dict(value) if types[name] == "zset" else value
            for name, value in zip(names, pipe.execute(), strict=True)
            if value
        }
        return cls(values, {name: lives[name] for name in values})

    def under(self, prefix: str) -> Iterator[tuple[str, Any]]:
        """Give what stands under a prefix of our keys, by the rest of the name."""
        whole = keys.ROOT + prefix
        for name, value in self.values.items():
            if name.startswith(whole):
                yield name[len(whole) :], value

    def at(self, name: str) -> dict[str, Any]:
        """Give a hash or sorted set; empty when there is none."""
        value: dict[str, Any] = self.values.get(name, {})
        return value

    @property
    def jobs(self) -> dict[str, dict[str, str]]:
        """Every job's record by id."""
        return dict(self.under("job:"))

    @property
    def staged_batches(self) -> set[str]:
        """The batches that are not accepted (yet), or not any more."""
        return {name for name, record in self.under("batch:") if record.get("status") in ("accepting", "dropped")}

    @property
    def staged(self) -> dict[str, dict[str, str]]:
        """The records of jobs that nobody has been promised: what is staged of such batches."""
        batches = self.staged_batches
        return {job_id: job for job_id, job in self.jobs.items() if job.get("batch") in batches}

    @property
    def accepted(self) -> dict[str, dict[str, str]]:
        """The records of all other jobs."""
        staged = self.staged
        return {job_id: job for job_id, job in self.jobs.items() if job_id not in staged}

    @property
    def unlisted(self) -> set[str]:
        """Accepted jobs that the sweep which lists their batch has not come to."""
        done = {name: int(record["list_line"]) for name, record in self.under("batch:") if "list_line" in record}
        return {
            job_id
            for job_id, job in self.jobs.items()
            if job.get("batch") in done and line_of(job_id) > done[job["batch"]]
        }

    @property
    def attempts(self) -> list[Attempt]:
        """Every attempt."""
        found = []
        for name, record in self.under("attempt:"):
            job_id, _, number = name.rpartition(":")
            found.append(Attempt(job_id, int(number), record))
        return found

    @property
    def lanes(self) -> list[str]:
        """The known lanes."""
        return sorted(self.values.get(keys.LANES, ()))

    def due(self, kind: str) -> list[str]:
        """Give the timers of a kind, without it."""
        return [member[2:] for member in self.at(keys.DUE) if member.startswith(f"{kind}:")]
