"""Photographs a product line: a CSV file as one batch, a folder of images for each SKU, and an index of it all.

    make run                                        # in one terminal
    .venv/bin/python examples/line_up/line_up.py    # in another, in the same folder
    column -s, -t line-up/index.csv

Products of your own: `line_up.py products.csv --directory mine`, with the same columns. Without `make run`,
DARKROOM_URL and DARKROOM_API_KEY say where the service is.

The same products again are the same batch, for as long as the service keeps it (a week by default): nothing is posted,
paid or fetched twice, so the command may be stopped or killed at any moment and given again. Another product or another
template is another batch, and pays for every product in it: give new products in a file of their own.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import sys
from pathlib import Path

from darkroom.client import Batch, Client, ConnectionFailed, DarkroomError

VIEWS = ("from the front", "from above", "a close-up of the material", "in use at a set table")
TEMPLATE = (
    "A series of {views} catalogue photos of the same product: {name}, {material}, {colour}. {list}. "
    "House style of the whole line: pale oak table, plain warm grey wall, soft window light from the left, no text."
)
PRODUCT = ["sku", "name", "material", "colour"]
COLUMNS = ["sku", "status", "images", "paths", "cost_usd"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Photograph a product line.")
    parser.add_argument("products", type=Path, nargs="?", default=Path(__file__).with_name("products.csv"))
    parser.add_argument("--directory", type=Path, default=Path("line-up"))
    options = parser.parse_args()
    lines = lines_of(options.products)
    with open_client() as darkroom:
        batch = post_once(darkroom, lines)
        batch = darkroom.wait_batch(batch.id, progress=tell)
        write_index(darkroom, batch, options.directory)
    print(f"{options.directory / 'index.csv'}: {batch.counts.completed} of {batch.total}, {batch.cost.spent:.2f} USD")
    if batch.counts.completed < batch.total:
        sys.exit(f"not all came; `darkroom retry {batch.id}`, then this again, goes on with them")


def lines_of(products: Path) -> list[dict[str, object]]:
    """Make a job of each product, under its SKU."""
    views = "; ".join(f"{number}: {view}" for number, view in enumerate(VIEWS, 1))
    lines: list[dict[str, object]] = []
    with products.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, restval="", restkey="more")
        if sorted(rows.fieldnames or ()) != sorted(PRODUCT):
            sys.exit(f"{products}: the columns must be {', '.join(PRODUCT)}")
        for row in rows:
            if "more" in row or not all(row.values()):
                sys.exit(f"{products}, line {rows.line_num}: a cell is empty, or there is one too many")
            sku, prompt = row["sku"], TEMPLATE.format(views=len(VIEWS), list=views, **row)
            if not re.fullmatch(r"\w[\w.-]*", sku):
                sys.exit(f"{products}, line {rows.line_num}: {sku!r} can't be the name of a folder")
            lines.append({"custom_id": sku, "prompt": prompt, "max_images": len(VIEWS)})
    return lines


def post_once(darkroom: Client, lines: list[dict[str, object]]) -> Batch:
    """Post the batch unless the service has it: the key holds for a day, the metadata for as long as the batch."""
    key = f"line-up-{hashlib.sha256(json.dumps(lines).encode()).hexdigest()}"
    known = next((batch for batch in darkroom.batches() if batch.metadata.get("line_up") == key), None)
    batch = known or darkroom.submit_batch(lines, metadata={"line_up": key}, idempotency_key=key)
    print(f"{batch.id}: {batch.total} products", flush=True)
    return batch


def tell(batch: Batch) -> None:
    """Say how far it is."""
    left = f", about {batch.estimated_seconds_left} s left" if batch.estimated_seconds_left else ""
    print(f"{batch.counts.finished} of {batch.total} done, {batch.cost.spent:.2f} USD spent{left}", flush=True)


def write_index(darkroom: Client, batch: Batch, directory: Path) -> None:
    """Fetch what is not here yet, product by product, and list it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "index.csv").open("w", newline="", encoding="utf-8") as file:
        index = csv.writer(file)
        index.writerow(COLUMNS)
        for result in darkroom.results(batch.id):  # read line by line, in the order of the products
            paths = darkroom.download(result.job, directory / str(result.custom_id))
            names = " ".join(path.relative_to(directory).as_posix() for path in paths)
            index.writerow([result.custom_id, result.job.status, len(paths), names, f"{result.job.cost.spent:.2f}"])


def open_client() -> Client:
    """Find the service and the key, and make sure at once that it is there and takes the key."""
    kept = Path(".darkroom/api-key")  # `make run` keeps it there
    key = os.environ.get("DARKROOM_API_KEY") or (kept.read_text().strip() if kept.exists() else "")
    if not key:
        sys.exit(f"no API key: DARKROOM_API_KEY is not set, and `make run` has left none in {kept}")
    with Client(api_key=key, retries=1) as first:
        first.status()
    return Client(api_key=key)


if __name__ == "__main__":
    try:
        main()
    except ConnectionFailed as error:
        sys.exit(f"{error}; does `make run` run?")
    except (DarkroomError, OSError, UnicodeError, csv.Error) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the batch goes on, and so does this command when it is given again")
