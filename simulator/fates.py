"""What will become of a task: how long it takes and how it ends, decided when it is created."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from simulator.faults import TASK, Fault, FaultBook
from simulator.markers import markers_of
from simulator.predictions import TERMINAL, Fate
from simulator.settings import Settings
from simulator.validation import SubmitRequest
from simulator.wire import TASK_ERRORS


def decide_fate(request: SubmitRequest, order: int, *, settings: Settings, faults: FaultBook) -> Fate:
    """Draw the inference time and let every kind of task fault have its say."""
    fate: dict[str, Any] = {"duration_s": draw_duration_s(settings, order, request.max_images)}
    for kind in TASK:
        fault = faults.take((kind,), call="submit", prompt=request.prompt, markers=markers_of(request.prompt))
        if fault is not None:
            fate.update(_changes(fault, request.max_images))
    return Fate(**fate)


def draw_duration_s(settings: Settings, order: int, max_images: int) -> float:
    """Draw an inference time: a log-normal shape squeezed between the bounds, longer for more images.

    The same seed gives the n-th prediction the same time.
    """
    seed = hashlib.blake2b(f"{settings.seed}:{order}".encode(), digest_size=8).digest()
    draw = random.Random(int.from_bytes(seed, "big")).lognormvariate(0.0, 0.6)
    share = draw / (1.0 + draw) * (0.7 + 0.3 * (max_images - 1) / 14)
    span_s = settings.inference_max_s - settings.inference_min_s
    return (settings.inference_min_s + span_s * share) / settings.speed


def _changes(fault: Fault, max_images: int) -> dict[str, Any]:
    """Translate one fault of a task into what it changes of the fate."""
    panels = range(1, max_images + 1) if fault.index is None else (fault.index,)
    match fault.kind:
        case "fail":
            code = fault.code or 5000
            return {"status": "failed", "code": code, "error": TASK_ERRORS.get(code, "Unknown error.")}
        case "status" if fault.seconds is not None and fault.status not in TERMINAL:
            return {"interim": fault.status, "duration_s": fault.seconds}
        case "status":
            return {"status": fault.status, "error": "task timed out" if fault.status == "timeout" else ""}
        case "outputs":
            return {"output_count": fault.count}
        case "null_output":
            return {"null_outputs": frozenset(panels)}
        case "null_flags":
            return {"flags": "null"}
        case "missing_flags":
            return {"flags": "missing"}
        case "nsfw":
            return {"nsfw": frozenset(panels)}
        case "inference":
            return {"duration_s": fault.seconds}
    raise AssertionError(f"task fault '{fault.kind}' changes nothing")
