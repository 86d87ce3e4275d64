"""Posts the first job of the pipeline: a character sheet whose webhook goes to `pipeline.py`; see there.

The same character again is the same job and costs nothing, for a day: the Idempotency-Key is made of both.
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path

from darkroom.client import Client, ConnectionFailed, DarkroomError

SHEET = "A character sheet in 4 images of {character}: from the front, from the side, from behind, the face."


def main() -> None:
    parser = argparse.ArgumentParser(description="Start the pipeline.")
    parser.add_argument("character", help="who it is about")
    parser.add_argument("--receiver", default="http://127.0.0.1:8787/", help="where pipeline.py listens")
    options = parser.parse_args()
    named = f"{options.receiver} {options.character}"
    with Client(api_key=api_key(), retries=1) as darkroom:
        job = darkroom.submit(
            SHEET.format(character=options.character),
            max_images=4,
            webhook=options.receiver,
            metadata={"pipeline_step": "sheet", "character": options.character},
            idempotency_key=f"sheet-{hashlib.sha256(named.encode()).hexdigest()}",
        )
    print(job.id)


def api_key() -> str:
    kept = Path(".darkroom/api-key")  # `make run` keeps it there
    key = os.environ.get("DARKROOM_API_KEY") or (kept.read_text().strip() if kept.exists() else "")
    return key or sys.exit(f"no API key: DARKROOM_API_KEY is not set, and `make run` has left none in {kept}")


if __name__ == "__main__":
    try:
        main()
    except ConnectionFailed as error:
        sys.exit(f"{error}; does `make run` run?")
    except (DarkroomError, OSError, UnicodeError) as error:
        sys.exit(str(error))
