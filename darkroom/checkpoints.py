"""Named instants on the way of a job or a batch at which a test can stop the process: to kill it, or to let it freeze.

For tests only. Unless `DARKROOM_CHECKPOINTS_DIR` names a folder when the process starts, `reach` does nothing. With
it, a file `<point>.armed` in that folder stops the first process that gets there, at that very instruction (SIGSTOP,
all threads). If the file is not empty, it stops only what has all the words of one of its lines in its details, such as
a job's id. What was caught stands in `<point>.reached`: `{"pid": …, "details": […]}`, written whole just before the
process stops.
"""

import json
import os
import signal
import threading
from enum import StrEnum
from pathlib import Path

VARIABLE = "DARKROOM_CHECKPOINTS_DIR"


class Checkpoint(StrEnum):
    """Every point, in the order in which a job comes by them; then those of a batch."""

    API_BEFORE_ENQUEUE = "api-before-enqueue"
    API_ENQUEUED = "api-enqueued"
    DISPATCH_ADMITTED = "dispatch-admitted"
    SUBMIT_BEFORE_INTENT = "submit-before-intent"
    SUBMIT_INTENT = "submit-intent"
    SUBMIT_CONNECTED = "submit-connected"
    SUBMIT_ANSWERED = "submit-answered"
    SUBMIT_RECORDED = "submit-recorded"
    LOOK_LEASED = "look-leased"
    LOOK_ANSWERED = "look-answered"
    LOOK_HANDED_OVER = "look-handed-over"
    STORE_CLAIMED = "store-claimed"
    STORE_MID_UPLOAD = "store-mid-upload"
    STORE_UPLOADED = "store-uploaded"
    STORE_DESCRIBED = "store-described"
    STORE_COMPLETED = "store-completed"
    NOTIFY_CLAIMED = "notify-claimed"
    NOTIFY_POSTED = "notify-posted"
    NOTIFY_RECORDED = "notify-recorded"
    BATCH_BEGUN = "batch-begun"
    BATCH_STAGED = "batch-staged"
    BATCH_BEFORE_LINK = "batch-before-link"
    BATCH_LINKED = "batch-linked"
    BATCH_SLICE = "batch-slice"
    MANIFEST_CLAIMED = "manifest-claimed"
    MANIFEST_RESULTS = "manifest-results"
    MANIFEST_WRITTEN = "manifest-written"
    MANIFEST_TOLD = "manifest-told"


def _folder_of_tests() -> Path | None:
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


_folder = _folder_of_tests()


def reach(point: Checkpoint, *details: object) -> None:
    """Stop here if a test has armed the point; `details` say what is at it and hold the job's id where there is one.

    Safe to call from a loop and from any thread; exactly one caller is stopped by each armed file.
    """
    if _folder is not None:
        _stop_if_armed(_folder, point, [str(detail) for detail in details])


def _stop_if_armed(folder: Path, point: Checkpoint, details: list[str]) -> None:
    armed, mine = folder / f"{point}.armed", folder / f"{point}.{os.getpid()}-{threading.get_ident()}"
    try:
        wanted = armed.read_text().splitlines()
        found = " ".join(details)
        if wanted and not any(all(word in found for word in line.split()) for line in wanted):
            return
        armed.rename(mine)
    except FileNotFoundError:
        return  # not armed, or somebody else was quicker
    mine.write_text(json.dumps({"pid": os.getpid(), "details": details}))
    mine.rename(folder / f"{point}.reached")
    # To this thread, so that it does not run on while the kernel picks one; the stop itself is the whole process'.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
