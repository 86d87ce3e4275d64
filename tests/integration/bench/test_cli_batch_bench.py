"""The measurement of the command line runs from end to end, and refuses a run that paid or fetched anything twice."""

import hashlib
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from bench.bucket_door import Fetch, bucket_door
from bench.fetched import Life, check_folder, check_paid_once, count_fetches, images_in
from bench.figures import BenchError
from deploy.embedded.s3 import EmbeddedS3
from tests.support.s3 import s3_client

A, B = "job_1/00.png", "job_1/01.png"
LIVES = [Life(0, 10, "kill -9", frozenset({A})), Life(11, 20, "its end", frozenset({A, B}))]


@pytest.mark.timeout(120)
def test_two_kills_of_the_client_and_one_of_a_worker_cost_nothing_twice(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--seed", "4", "--out", str(tmp_path), "cli_batch"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    result = orjson.loads((tmp_path / "cli_batch.json").read_bytes())
    figures = {item["what"]: item["values"][0] for item in result["figures"]}
    assert figures["images in the folder, each the job's by its SHA-256"] == 120
    assert figures["predictions that upstream was paid for"] == 60
    assert figures["GETs of outputs"] == 120 + figures["images whose fetch a kill cut, fetched again"]
    assert figures["jobs under way when the worker was killed"] > 0
    assert [row["ended_by"] for row in result["raw"][:3]] == ["kill -9", "kill -9", "its end"]


def test_a_fetch_that_a_kill_cut_is_counted_apart() -> None:
    fetches = count_fetches([Fetch(A, 1), Fetch(B, 2), Fetch(B, 12)], LIVES)
    assert (fetches.in_all, fetches.once, fetches.cut) == (3, 1, (B,))


@pytest.mark.parametrize(
    ("fetches", "says"),
    [
        ([Fetch(A, 1), Fetch(A, 2)], "fetched 2 times by the client's life 1"),
        ([Fetch(A, 1), Fetch(A, 12)], "was in the folder and was fetched again by the client's life 2"),
        ([Fetch(A, -1)], "before the client began"),
    ],
)
def test_a_fetch_too_many_fails_the_run(fetches: list[Fetch], says: str) -> None:
    with pytest.raises(BenchError, match=says):
        count_fetches(fetches, LIVES)


@pytest.mark.parametrize(
    ("bought", "says"),
    [(["a", "b", "b"], "1 jobs were paid for twice"), (["a"], "1 prompts"), (["a", "c"], "2 prompts")],
)
def test_a_ledger_that_is_not_the_files_fails_the_run(bought: list[str], says: str) -> None:
    check_paid_once([{"prompt": "b"}, {"prompt": "a"}], ["a", "b"])
    with pytest.raises(BenchError, match=says):
        check_paid_once([{"prompt": prompt} for prompt in bought], ["a", "b"])


def test_a_folder_is_held_against_the_jobs(tmp_path: Path) -> None:
    output = {"index": 0, "bytes": 3, "sha256": hashlib.sha256(b"png").hexdigest()}
    job: dict[str, Any] = {"id": "job_1", "status": "completed", "outputs": [output]}
    image = tmp_path / "job_1" / "00.png"
    image.parent.mkdir()
    image.write_bytes(b"png")
    assert check_folder(tmp_path, [{"job": job}], jobs=1, images_each=1) == 3
    assert images_in(tmp_path) == {"job_1/00.png"}
    with pytest.raises(BenchError, match="not 2 × 1"):
        check_folder(tmp_path, [{"job": job}], jobs=2, images_each=1)
    with pytest.raises(BenchError, match="is failed"):
        check_folder(tmp_path, [{"job": job | {"status": "failed"}}], jobs=1, images_each=1)
    image.write_bytes(b"gnp")
    with pytest.raises(BenchError, match="not what the job says"):
        check_folder(tmp_path, [{"job": job}], jobs=1, images_each=1)
    (image.parent / "01.png.0a1b.part").touch()
    with pytest.raises(BenchError, match="1 are others'"):
        check_folder(tmp_path, [{"job": job}], jobs=1, images_each=1)


def test_the_door_lets_signed_addresses_through_and_notes_outputs(s3_server: EmbeddedS3) -> None:
    direct = s3_client(s3_server)
    direct.create_bucket(Bucket="door")
    direct.put_object(Bucket="door", Key="2026/11/26/job_1/00.png", Body=b"png")
    direct.close()
    with bucket_door(s3_server.port) as door, httpx.Client() as http:
        behind = s3_client(replace(s3_server, endpoint_url=f"http://127.0.0.1:{door.port}"))
        keys = ("2026/11/26/job_1/00.png", "2026/11/26/job_1/job.json", "2026/11/26/job_1/00.png")
        addresses = [
            behind.generate_presigned_url("get_object", Params={"Bucket": "door", "Key": key}, ExpiresIn=60)
            for key in keys
        ]
        answers = [http.get(address) for address in addresses]
        behind.put_object(Bucket="door", Key="x", Body=b"y" * 100_000)
        behind.close()
        assert [answer.status_code for answer in answers] == [200, 404, 200]
        assert answers[0].content == b"png"
        assert [fetch.image for fetch in door.fetches()] == ["job_1/00.png", "job_1/00.png"]
        http.close()
        with socket.create_connection(("127.0.0.1", door.port)) as gone:
            gone.sendall(b"GET /door/job_2/00.png HTTP/1.1\r\n\r\n")
        door.wait_until_left()
        assert door.fetches()[-1].image == "job_2/00.png"
