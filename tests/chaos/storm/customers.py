"""The customers of a storm: they post jobs and batches with keys, repeat on errors, cancel a few jobs, retry a few."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from darkroom.store.batch_ids import batch_job_id
from tests.chaos.storm.plan import TENANTS, Plan, Post

THREADS = 8
BETWEEN_TRIES_S = 0.3
LOOKS_EVERY_S = 3.0
LAST_WISHES_S = 6.0
"""How long jobs are still canceled and retried once all is posted and healed."""

ENDED = ("failed", "canceled", "expired")


@dataclass(slots=True)
class Notes:
    """What the customers know at the end."""

    jobs: dict[int, str] = field(default_factory=dict)
    """Job id by the post's number."""
    batches: dict[str, int] = field(default_factory=dict)
    """How many jobs each batch has."""
    retries: Counter[str] = field(default_factory=Counter)
    """Retries that may have taken effect, by job id."""
    refused: list[str] = field(default_factory=list)
    """Answers that should not have been given."""
    tries: int = 0


class Customers:
    """Threads that act out the posts of a plan against one API."""

    def __init__(self, plan: Plan, *, api_url: str, keys: dict[str, str], hook_url: str) -> None:
        self._plan, self._hook_url = plan, hook_url
        self.notes = Notes()
        self._clients = {
            tenant: httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {keys[tenant]}"}, timeout=5)
            for tenant in TENANTS
        }
        self._waiting = list(reversed(plan.uploads))
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._began = 0.0
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(THREADS)]
        self._later: list[tuple[float, Post, str]] = []
        self._caretaker = threading.Thread(target=self._take_care, daemon=True)

    def start(self) -> None:
        """Begin; the plan's times count from here."""
        self._began = time.monotonic()
        for thread in [*self._threads, self._caretaker]:
            thread.start()

    def finish(self, timeout_s: float) -> None:
        """Wait until everything is posted, and then cancel and retry no more."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._over.wait(LAST_WISHES_S)
        self._over.set()
        self._caretaker.join(15)
        missing = len(self._plan.posts) - len(self.notes.jobs)
        if missing or self._caretaker.is_alive():
            self.notes.refused.append(f"{missing} posts were not accepted within {timeout_s:g} s of the storm's end")

    def close(self) -> None:
        """Let go of the connections."""
        self._over.set()
        for client in self._clients.values():
            client.close()

    def job(self, tenant: str, job_id: str) -> dict[str, Any]:
        """Read a job as its tenant does; for when all is well again."""
        answer = self._clients[tenant].get(f"/v1/jobs/{job_id}")
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
        return job

    def _work(self) -> None:
        while not self._over.is_set():
            with self._lock:
                if not self._waiting:
                    return
                upload = self._waiting.pop()
            post = upload[-1]
            self._over.wait(max(0.0, self._began + post.at_s - time.monotonic()))
            made = self._post(upload)
            if made is None:
                return
            if post.posted_twice and self._post(upload) not in (made, None):
                self.notes.refused.append(f"post {post.number}: the same key gave two")
            self._note(upload, made)

    def _note(self, upload: list[Post], made: str) -> None:
        """Remember which jobs were accepted, and what is to become of them."""
        is_batch = upload[0].is_batched
        if is_batch:
            self.notes.batches[made] = len(upload)
        for line, post in enumerate(upload, 1):
            job_id = batch_job_id(made, line) if is_batch else made
            self.notes.jobs[post.number] = job_id
            with self._lock:
                self._later.append((time.monotonic() + (post.cancel_after_s or 0.0), post, job_id))

    def _post(self, upload: list[Post]) -> str | None:
        """Post a job or a batch until it is accepted; gives its id."""
        post, bodies = upload[-1], [post.body | {"webhook": {"url": self._hook_url}} for post in upload]
        path, query = "/v1/jobs", {}
        content, kind = orjson.dumps(bodies[0]), "application/json"
        if post.is_batched:
            path, query = "/v1/batches", {"webhook_url": self._hook_url}
            content, kind = b"\n".join(orjson.dumps(body) for body in bodies), "application/x-ndjson"
        headers = {"Idempotency-Key": post.key, "Content-Type": kind}
        while not self._over.is_set():
            answer = self._call(post.tenant, "POST", path, content=content, params=query, headers=headers)
            if answer is not None and answer.status_code == 202:
                made: str = answer.json()["id"]
                return made
            in_progress = answer is not None and "idempotency_in_progress" in answer.text
            if answer is not None and answer.status_code not in (429, 500, 502, 503) and not in_progress:
                self.notes.refused.append(f"post {post.number}: {answer.status_code} {answer.text[:300]}")
                return None
            self._over.wait(BETWEEN_TRIES_S)
        return None

    def _take_care(self) -> None:
        """Cancel and retry what the plan says, one job after the other."""
        left: dict[str, int] = {}
        while not self._over.wait(0.05):
            with self._lock:
                due = [item for item in self._later if item[0] <= time.monotonic()]
                self._later = [item for item in self._later if item not in due]
            for at, post, job_id in due:
                if post.cancel_after_s is not None and job_id not in left:
                    self._call(post.tenant, "POST", f"/v1/jobs/{job_id}/cancel")
                left.setdefault(job_id, post.retries)
                left[job_id] -= self._retry(post, job_id) if left[job_id] else 0
                if left[job_id] > 0:
                    with self._lock:
                        self._later.append((at + LOOKS_EVERY_S, post, job_id))

    def _retry(self, post: Post, job_id: str) -> int:
        """Retry a job if it has failed; gives how many of its retries are no longer needed."""
        answer = self._call(post.tenant, "GET", f"/v1/jobs/{job_id}")
        status = answer.json()["status"] if answer is not None and answer.status_code == 200 else ""
        if status == "completed":
            return post.retries
        if status not in ENDED:
            return 0
        self.notes.retries[job_id] += 1
        fresh = "?fresh=true" if post.fresh else ""
        answer = self._call(post.tenant, "POST", f"/v1/jobs/{job_id}/retry{fresh}")
        if answer is not None and answer.status_code in (404, 422):
            self.notes.refused.append(f"retry of {job_id}: {answer.status_code} {answer.text[:300]}")
        return 1

    def _call(self, tenant: str, method: str, path: str, **more: Any) -> httpx.Response | None:
        self.notes.tries += 1
        try:
            return self._clients[tenant].request(method, path, **more)
        except httpx.TransportError:
            return None
