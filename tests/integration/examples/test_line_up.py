"""A product line as one batch: a folder for each SKU, an index, and nothing paid twice."""

import csv
import signal
from collections.abc import Callable

import pytest

from simulator.testing import RunningSimulator
from tests.integration.examples.conftest import EXAMPLES, Folder
from tests.support.fleet import Fleet
from tests.support.waiting import wait_until

LINE_UP = "line_up/line_up.py"
HEADER = "sku,name,material,colour\n"


def index(folder: Folder) -> list[dict[str, str]]:
    with (folder.directory / "line-up" / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_products(folder: Folder, *names: str) -> str:
    rows = [f'S-{number},"{name}",clay,red\n' for number, name in enumerate(names)]
    (folder.directory / "products.csv").write_text(HEADER + "".join(rows))
    return "products.csv"


def batches(fleet: Fleet) -> list[str]:
    return [batch["id"] for batch in fleet.client.get("/v1/batches").json()["data"]]


def test_the_products_become_folders_and_an_index_and_again_cost_nothing(
    folder: Folder, fleet: Fleet, simulator: RunningSimulator
) -> None:
    first = folder.run(LINE_UP)
    assert "of 12 done, " in first.out[1]
    assert first.out[-1] == "line-up/index.csv: 12 of 12, 1.92 USD\n"
    with (EXAMPLES / "line_up" / "products.csv").open(newline="") as file:
        skus = [row["sku"] for row in csv.DictReader(file)]
    assert len(skus) == 12
    rows = index(folder)
    assert [row["sku"] for row in rows] == skus
    for row in rows:
        assert (row["status"], row["images"], row["cost_usd"]) == ("completed", "4", "0.16")
        paths = row["paths"].split()
        assert [path.split("/")[0] for path in paths] == [row["sku"]] * 4
        assert [path.split("/")[-1] for path in paths] == [f"{number:02d}.png" for number in range(4)]
    before = folder.files("line-up")
    assert set(before) == {path for row in rows for path in row["paths"].split()}
    for prompt in ("espresso cup, stoneware, moss green", "bud vase, small, recycled glass, clear"):
        assert simulator.ledger(prompt)["totals"]["images"] == 4

    known, totals = batches(fleet), simulator.ledger()["totals"]
    second = folder.run(LINE_UP)
    assert second.out[0] == first.out[0]
    assert (batches(fleet), simulator.ledger()["totals"]) == (known, totals)
    assert (folder.files("line-up"), index(folder)) == (before, rows)


def test_a_batch_whose_key_is_forgotten_is_found_by_its_metadata(
    folder: Folder, hero: str, simulator: RunningSimulator, forget_keys: Callable[[], None]
) -> None:
    products = write_products(folder, hero)
    first = folder.run(LINE_UP, products)
    forget_keys()
    assert folder.run(LINE_UP, products).out[0] == first.out[0]
    assert simulator.ledger(hero)["totals"]["predictions"] == 1


def test_a_batch_that_is_not_found_by_its_metadata_is_the_same_by_its_key(
    folder: Folder, hero: str, simulator: RunningSimulator
) -> None:
    products = write_products(folder, hero)
    first = folder.run(LINE_UP, products)
    blind = folder.changed(LINE_UP, "    batch = known or ", "    batch = ")
    assert folder.run(blind, products).out[0] == first.out[0]
    assert simulator.ledger(hero)["totals"]["predictions"] == 1


def test_killed_while_it_waits_the_same_command_goes_on(folder: Folder, hero: str, simulator: RunningSimulator) -> None:
    products = write_products(folder, f"{hero} one", f"{hero} two [[sim:inference=600]]")
    program = folder.start(LINE_UP, products)
    wait_until(lambda: "1 of 2 done" in program.output, what=f"one to be done: {program.output}")
    program.stop(signal.SIGKILL)
    held = [item["id"] for item in simulator.predictions(hero) if item["status"] != "completed"]
    assert len(held) == 1
    simulator.complete(held[0])
    again = folder.run(LINE_UP, products)
    assert again.out[0] == program.out[0]
    assert [row["images"] for row in index(folder)] == ["4", "4"]
    assert simulator.ledger(hero)["totals"]["predictions"] == 2


def test_killed_before_the_answer_is_known_it_is_still_one_batch(
    folder: Folder, hero: str, simulator: RunningSimulator
) -> None:
    products = write_products(folder, hero)
    killed = folder.killed_before(LINE_UP, '    print(f"{batch.id}: ')
    assert folder.start(killed, products).wait() == -signal.SIGKILL
    folder.run(LINE_UP, products)
    assert simulator.ledger(hero)["totals"]["predictions"] == 1


def test_a_failed_product_is_in_the_index_and_comes_after_a_retry(
    folder: Folder, fleet: Fleet, hero: str, simulator: RunningSimulator
) -> None:
    products = write_products(folder, hero, f"{hero} two [[sim:inference=600]]")
    program = folder.start(LINE_UP, products)
    wait_until(lambda: "1 of 2 done" in program.output, what=f"one to be done: {program.output}")
    (held,) = simulator.predictions(f"{hero} two")
    simulator.fail(held["id"], 1200)
    assert program.wait() == 1
    batch_id = program.out[0].split(":")[0]
    assert program.err == [f"not all came; `darkroom retry {batch_id}`, then this again, goes on with them\n"]
    assert [(row["status"], row["images"]) for row in index(folder)] == [("completed", "4"), ("failed", "0")]

    answer = fleet.client.post(f"/v1/batches/{batch_id}/retry", params={"include": "content_moderation"})
    assert answer.status_code == 200, answer.text
    wait_until(lambda: len(simulator.predictions(f"{hero} two")) == 2, what="the second attempt to be upstream")
    simulator.complete(simulator.predictions(f"{hero} two")[1]["id"])
    assert folder.run(LINE_UP, products).out[0].startswith(batch_id)
    assert [(row["status"], row["images"]) for row in index(folder)] == [("completed", "4"), ("completed", "4")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sku,name\nA,b\n", "products.csv: the columns must be sku, name, material, colour"),
        ("", "products.csv: the columns must be sku, name, material, colour"),
        (f"{HEADER}A,b,c,d\nB,b,c,d,e\n", "products.csv, line 3: a cell is empty, or there is one too many"),
        (f"{HEADER}A,b,c\n", "products.csv, line 2: a cell is empty, or there is one too many"),
        (f"{HEADER}../A,b,c,d\n", "products.csv, line 2: '../A' can't be the name of a folder"),
        (f"{HEADER}A,b,c,d\nA,b,c,d\n", "custom_id"),
        (HEADER, "batch"),
    ],
)
def test_products_that_can_not_be_posted_are_refused(folder: Folder, fleet: Fleet, content: str, said: str) -> None:
    (folder.directory / "products.csv").write_text(content)
    known = batches(fleet)
    assert said in folder.refused(LINE_UP, "products.csv")
    assert batches(fleet) == known
    assert not (folder.directory / "line-up").exists()
