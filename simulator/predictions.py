"""One prediction: what was asked, what became of it, what it cost, and how it is told to a client."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from simulator.clock import iso_nanoseconds
from simulator.faults import Fault
from simulator.wire import MODEL

TERMINAL = frozenset({"completed", "failed", "cancelled", "timeout", "deleted"})
MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Fate:
    """How a task will end, decided when it is created."""

    duration_s: float
    status: str = "completed"
    code: int | None = None
    error: str = ""
    output_count: int | None = None
    null_outputs: frozenset[int] = frozenset()
    nsfw: frozenset[int] = frozenset()
    flags: str = "list"
    interim: str | None = None


@dataclass(slots=True, eq=False)
class Prediction:
    """A task and its bill. Money is in millionths of a USD, panels count from 1."""

    id: str
    key_fingerprint: str
    order: int
    prompt: str
    width: int
    height: int
    max_images: int
    is_base64: bool
    is_sync: bool
    webhook: str | None
    body: bytes
    created_at_ns: int
    created_tick: float
    received_at: float
    fate: Fate
    charged: int
    refunded: int = 0
    status: str = "created"
    code: int | None = None
    error: str = ""
    inference_ms: int = 0
    output_count: int = 0
    was_answered: bool = False
    is_deleted: bool = False
    started_tick: float | None = None
    completed_at: float | None = None
    urls_minted_at: float = 0.0
    refunded_at_ns: int = 0
    looks: int = 0
    last_look_tick: float = 0.0
    markers: tuple[Fault, ...] = field(default=(), repr=False)

    @property
    def is_done(self) -> bool:
        """Whether upstream is finished with it; an unknown status never is."""
        return self.status in TERMINAL

    @property
    def size(self) -> str:
        """The size as written in the API."""
        return f"{self.width}*{self.height}"

    def wire(
        self, base_url: str, outputs: list[str | None], *, execution_time: bool = True, status: str | None = None
    ) -> dict[str, Any]:
        """Return the prediction object of the API; `status` overrides (the submit's answer always says created)."""
        shown = status or ("deleted" if self.is_deleted else self.status)
        data: dict[str, Any] = {
            "id": self.id,
            "model": MODEL,
            "outputs": outputs,
            "urls": {"get": f"{base_url}/api/v3/predictions/{self.id}/result"},
            "has_nsfw_contents": self._flags(shown),
            "status": shown,
            "created_at": iso_nanoseconds(self.created_at_ns),
            "error": "" if shown == "created" else self.error,
            "timings": {"inference": 0 if shown == "created" else self.inference_ms},
        }
        if self.fate.flags == "missing":
            del data["has_nsfw_contents"]
        if shown == "completed" and execution_time:
            data["executionTime"] = self.inference_ms
        if shown == "failed" and self.code is not None:
            data["code"] = self.code
        return data

    def _flags(self, shown: str) -> list[bool] | None:
        if shown != "completed":
            return []
        if self.fate.flags == "null":
            return None
        return [panel in self.fate.nsfw for panel in range(1, self.output_count + 1)]

    def input(self) -> dict[str, Any]:
        """Return the request's fields as the list call shows them."""
        return {"prompt": self.prompt, "size": self.size, "max_images": self.max_images}

    def ledger_entry(self) -> dict[str, Any]:
        """Return the line of the ledger; nothing in it is secret."""
        return {
            "id": self.id,
            "key": self.key_fingerprint,
            "prompt": self.prompt,
            "size": self.size,
            "max_images": self.max_images,
            "created_at": iso_nanoseconds(self.created_at_ns),
            "received_at": self.received_at,
            "answered": self.was_answered,
            "status": "deleted" if self.is_deleted else self.status,
            "code": self.code,
            "completed_at": self.completed_at,
            "charged_usd": self.charged / MICROS,
            "refunded_usd": self.refunded / MICROS,
            "outputs": self.output_count,
            "looks": self.looks,
            "webhook": self.webhook is not None,
            "request": json.loads(self.body),
        }
