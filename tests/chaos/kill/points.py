"""Every point at which a worker is killed, and what must be true there: else a test would kill it anywhere."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from botocore.exceptions import ClientError

from darkroom.checkpoints import Checkpoint
from darkroom.store import keys
from tests.chaos.kill.rig import Caught, Rig
from tests.support.s3 import s3_client
from tests.support.waiting import wait_until


@dataclass(frozen=True, slots=True)
class At:
    """The job that a process stands still with."""

    rig: Rig
    job_id: str
    details: tuple[str, ...]

    @property
    def status(self) -> str:
        """The job's."""
        return self.rig.job(self.job_id)["status"]

    @property
    def attempt(self) -> dict[str, str]:
        """The first attempt's record."""
        return self.rig.attempt(self.job_id)

    @property
    def stored(self) -> list[str]:
        """Which outputs are known to be in the bucket."""
        return [name for name in self.attempt if name.startswith("out:")]

    @property
    def bought(self) -> int:
        """How many predictions upstream has for it."""
        return len(self.rig.predictions(self.job_id))

    @property
    def told(self) -> int:
        """How often its end was heard of."""
        return len(self.rig.fleet.receiver.of_job(self.job_id))

    @property
    def delivery(self) -> str:
        """The status of its webhook."""
        return self.rig.deliveries(self.job_id)[0]["status"]

    def object(self, key: str) -> bytes | None:
        """Read an object; None where there is none."""
        client = s3_client(self.rig.s3)
        try:
            return client.get_object(Bucket=self.rig.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return None
        finally:
            client.close()


@dataclass(frozen=True, slots=True)
class Point:
    """One point: where a process is stopped (None: at no instruction, but while it waits), and whether that is so."""

    name: str
    armed: Checkpoint | None
    holds: Callable[[At], bool]
    wanted: str = ""
    marker: str = ""

    def catch(self, rig: Rig) -> tuple[Caught, str]:
        """Post jobs, wait until a worker stands at the point with one of them, and make sure that it really does."""
        caught, job_id = self._in_mid_air(rig) if self.armed is None else self._armed(rig, self.armed)
        at = At(rig, job_id, caught.details)
        assert self.holds(at), f"not at {self.name}: {at.status}, {at.attempt}, {at.details}, bought {at.bought}"
        return caught, job_id

    def _armed(self, rig: Rig, armed: Checkpoint) -> tuple[Caught, str]:
        """Let the worker wait while jobs are posted and the point is armed for them and for no job of earlier kills."""
        with rig.standing_still():
            posted = rig.post(self.name, marker=self.marker)
            rig.arm(armed, [f"{name} {self.wanted}" for job_id in posted for name in rig.names_of(job_id)])
        caught = rig.caught(armed)
        found = " ".join(caught.details)
        return caught, next(job_id for job_id in posted if any(name in found for name in rig.names_of(job_id)))

    def _in_mid_air(self, rig: Rig) -> tuple[Caught, str]:
        job_id = rig.post(self.name, 1, marker=self.marker)[0]
        rig.post(self.name)
        wait_until(lambda: rig.predictions(job_id), what="the request has arrived")
        return Caught(rig.newest_worker, ()), job_id


def _admitted(at: At) -> bool:
    return (at.status, at.attempt["state"], at.attempt.get("sends"), at.bought) == ("queued", "admitted", None, 0)


def _intended(at: At) -> bool:
    return (at.status, at.attempt["state"], at.attempt["sends"], at.bought) == ("submitting", "submitting", "1", 0)


def _sent(at: At) -> bool:
    return (at.status, at.bought, at.attempt.get("prediction_id")) == ("submitting", 1, None)


def _recorded(at: At) -> bool:
    ids = [prediction["id"] for prediction in at.rig.predictions(at.job_id)]
    return at.status == "generating" and ids == [at.attempt["prediction_id"]]


def _leased(at: At) -> bool:
    due_ms = at.rig.fleet.redis.zscore(keys.DUE, f"j:{at.job_id}:1")
    seconds, _ = at.rig.fleet.redis.time()
    return _recorded(at) and due_ms is not None and float(due_ms) > seconds * 1000 + 2_000


def _held_to_store(at: At) -> bool:
    return at.status == "storing" and not at.stored and f"lease={at.attempt['lease']}" in at.details[0]


def _uploading(at: At) -> bool:
    return at.status == "storing" and at.object(at.details[0]) is None


def _uploaded(at: At) -> bool:
    key = at.details[1]
    saved = [json.loads(at.attempt[name])["key"] for name in at.stored]
    return at.status == "storing" and at.object(key) is not None and key not in saved


def _described(at: At) -> bool:
    outputs = [json.loads(at.attempt[name]) for name in at.stored]
    folder = outputs[0]["key"].rpartition("/")[0]
    described = json.loads(at.object(f"{folder}/job.json") or b"{}")
    return at.status == "storing" and described.get("status") == "completed" and described["id"] == at.job_id


def _complete_and_untold(at: At) -> bool:
    return (at.status, at.attempt["state"], at.delivery, at.told) == ("completed", "done", "pending", 0)


POINTS: tuple[Point, ...] = (
    Point("dispatch: admitted, not called for", Checkpoint.DISPATCH_ADMITTED, _admitted),
    Point("submit: before the intent", Checkpoint.SUBMIT_BEFORE_INTENT, _admitted),
    Point("submit: intent, nothing sent", Checkpoint.SUBMIT_INTENT, _intended),
    Point("submit: connected, before the last check", Checkpoint.SUBMIT_CONNECTED, _intended),
    Point("submit: sent, answer awaited", None, _sent, marker="[[sim:hang_after=600]]"),
    Point("submit: answered, id not stored", Checkpoint.SUBMIT_ANSWERED, _sent, wanted="Accepted"),
    Point("submit: id stored", Checkpoint.SUBMIT_RECORDED, _recorded),
    Point("look: leased, not asked", Checkpoint.LOOK_LEASED, _leased),
    Point("look: answered, not applied", Checkpoint.LOOK_ANSWERED, _leased, wanted="Completed"),
    Point("look: handed over, store not called for", Checkpoint.LOOK_HANDED_OVER, _held_to_store),
    Point(
        "store: claimed, nothing copied", Checkpoint.STORE_CLAIMED, lambda at: at.status == "storing" and not at.stored
    ),
    Point("store: mid upload", Checkpoint.STORE_MID_UPLOAD, _uploading),
    Point("store: uploaded, not kept", Checkpoint.STORE_UPLOADED, _uploaded),
    Point("store: job.json written, not complete", Checkpoint.STORE_DESCRIBED, _described),
    Point("store: complete, webhook not called for", Checkpoint.STORE_COMPLETED, _complete_and_untold),
    Point("notify: claimed, not sent", Checkpoint.NOTIFY_CLAIMED, _complete_and_untold),
    Point("notify: sent, not recorded", Checkpoint.NOTIFY_POSTED, lambda at: (at.delivery, at.told) == ("pending", 1)),
    Point("notify: recorded", Checkpoint.NOTIFY_RECORDED, lambda at: (at.delivery, at.told) == ("delivered", 1)),
)
"""In the order in which a job comes by them."""

BY_NAME = {point.name: point for point in POINTS}


def repeat_until_accepted(rig: Rig, label: str, point: Checkpoint) -> tuple[httpx.Response, bool]:
    """Post a job whose ingress is killed at the point, and repeat it at a new one under the same Idempotency-Key.

    Gives the last answer, and whether the job was in the store when the ingress died.
    """
    prompt = rig.prompt(label)
    body = {"prompt": prompt, "webhook": {"url": rig.fleet.receiver.url}}
    headers = {"Idempotency-Key": f"key-{len(rig.jobs)}"}
    rig.arm(point)
    known = set(rig.fleet.redis.zrange(keys.index("acme", "queued"), 0, -1))
    with rig.in_background(lambda: rig.fleet.client.post("/v1/jobs", json=body, headers=headers)) as sending:
        caught = rig.caught(point)
        stored = set(rig.fleet.redis.zrange(keys.index("acme", "queued"), 0, -1)) - known
        caught.kill()
        assert isinstance(sending.exception(10), httpx.TransportError), "the ingress died before it answered"
    rig.api()
    answer = rig.fleet.client.post("/v1/jobs", json=body, headers=headers)
    rig.jobs[answer.json()["id"]] = prompt
    return answer, bool(stored)
