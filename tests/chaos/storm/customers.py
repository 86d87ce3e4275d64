"""The customers of a storm: they post with an Idempotency-Key and repeat on errors, cancel a few jobs, retry a few."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

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
        self._waiting = list(reversed(plan.posts))
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
                post = self._waiting.pop()
            self._over.wait(max(0.0, self._began + post.at_s - time.monotonic()))
            job_id = self._post(post)
            if job_id is None:
                return
            if post.posted_twice and self._post(post) not in (job_id, None):
                self.notes.refused.append(f"post {post.number}: the same key gave two jobs")
            self.notes.jobs[post.number] = job_id
            with self._lock:
                self._later.append((time.monotonic() + (post.cancel_after_s or 0.0), post, job_id))

    def _post(self, post: Post) -> str | None:
        body = post.body | {"webhook": {"url": self._hook_url}}
        while not self._over.is_set():
            answer = self._call(post.tenant, "POST", "/v1/jobs", json=body, headers={"Idempotency-Key": post.key})
            if answer is not None and answer.status_code == 202:
                job_id: str = answer.json()["id"]
                return job_id
            if answer is not None and answer.status_code not in (429, 500, 502, 503):
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
