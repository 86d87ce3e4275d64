"""Keeping predictions across restarts, so that a client that still waits for one finds it again.

One JSON line when a prediction is created, one whenever it changes for good; the file is made compact when it is read.
Lines are handed to the operating system at once: they survive the end of this process, not of the machine.
Faults, settings and how often a marker has struck are not kept.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from simulator.clock import NANOSECONDS
from simulator.markers import markers_of
from simulator.predictions import Fate, Prediction
from simulator.world import World

_log = logging.getLogger("simulator.journal")
#: What changes after creation and is worth keeping.
_CHANGING = (
    "status", "code", "error", "inference_ms", "output_count", "completed_at", "urls_minted_at",
    "refunded", "refunded_at_ns", "is_deleted", "was_answered",
)  # fmt: skip
_NOT_KEPT = {"markers", "fate", "body", "created_tick", "started_tick", "looks", "last_look_tick"}


class Journal:
    """The file behind a world. Open it once, before the first call is served."""

    def __init__(self, world: World, path: Path) -> None:
        self._world = world
        self._path = path
        restored = self._read()
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(path.suffix + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.writelines(_line(_dump(prediction)) for prediction in restored)
        os.replace(fresh, path)
        self._file = path.open("a", encoding="utf-8", buffering=1)
        for prediction in restored:
            world.restore(prediction)
        world.on_created.append(self._on_created)
        world.on_changed.append(self._on_changed)

    def clear(self) -> None:
        """Forget everything."""
        self._file.truncate(0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _on_created(self, prediction: Prediction) -> None:
        self._file.write(_line(_dump(prediction)))

    def _on_changed(self, prediction: Prediction) -> None:
        changes = {name: getattr(prediction, name) for name in _CHANGING}
        self._file.write(_line({"id": prediction.id, "changes": changes}))

    def _read(self) -> list[Prediction]:
        """Read what is not past its life; a line cut short by the end of the process before counts for nothing."""
        predictions: dict[str, Prediction] = {}
        if not self._path.exists():
            return []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                if "changes" not in entry:
                    predictions[entry["id"]] = _load(entry)
                elif entry["id"] in predictions:
                    for name, value in entry["changes"].items():
                        setattr(predictions[entry["id"]], name, value)
            except (ValueError, KeyError, TypeError):
                _log.warning("skipped an unreadable line of %s", self._path.name)
        return [prediction for prediction in predictions.values() if not self._world.is_expired(prediction)]


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def _dump(prediction: Prediction) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(prediction) if field.name not in _NOT_KEPT]
    fate = dataclasses.asdict(prediction.fate)
    fate["null_outputs"], fate["nsfw"] = sorted(fate["null_outputs"]), sorted(fate["nsfw"])
    return {name: getattr(prediction, name) for name in names} | {"fate": fate, "body": prediction.body.decode()}


def _load(entry: dict[str, Any]) -> Prediction:
    fate = entry["fate"]
    fate["null_outputs"], fate["nsfw"] = frozenset(fate["null_outputs"]), frozenset(fate["nsfw"])
    age_s = (time.time_ns() - entry["created_at_ns"]) / NANOSECONDS
    changed = {
        "fate": Fate(**fate),
        "body": entry["body"].encode(),
        "created_tick": time.monotonic() - age_s,
        "markers": markers_of(entry["prompt"]),
    }
    return Prediction(**entry | changed)
