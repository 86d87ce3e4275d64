"""The guard's table is made from end to end, and is refused when anything got through or a count stood still."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.figures import BenchError
from bench.guard.judging import judge
from bench.guard.listening import Names, NameServer, listening
from bench.guard.probe import TRIES, counted
from deploy.embedded.processes import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's count is read from Linux' /proc")


def test_every_form_is_tried_and_no_connection_begins(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--out", str(tmp_path), "guard"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=80)
    assert done.returncode == 0, done.stderr
    result = orjson.loads((tmp_path / "guard.json").read_bytes())
    figures = {(item["case"], item["what"]): item["values"][0] for item in result["figures"]}
    assert figures["forms to refuse", "tried"] > 120
    assert figures["forms to refuse", "connections begun, by the kernel's count"] == 0
    assert figures["controls that may connect", "connections begun"] >= 3
    page = (tmp_path / "guard.md").read_text()
    assert "| `http://[::ffff:169.254.169.254]:" in page
    assert "| a webhook to an allowed network | delivered | 1 | 1 |" in page
    assert page.count("\n| `") == figures["forms to refuse", "tried"]


def seen() -> dict[str, Any]:
    """Give what a probe writes when all is well."""
    refused = {"said": "address refused: 10.0.0.1 is a private address", "opens": 0, "tries": 1}
    row = {"url": "http://10.0.0.1/", "name": False, "posted": "10.0.0.1 is a private address"}
    control = {"what": "a webhook to an allowed network", "said": "delivered", "expected": "delivered"}
    return {
        "own_network": True,
        "rows": [row | {"webhook": dict(refused), "fetched": dict(refused)}],
        "controls": [control | {"opens": 1, "tries": 1, "arrived": 1, "expected_opens": 1}],
        "active_opens": [7, 7],
        "arrived": 0,
        "proxy_arrived": 0,
    }


def test_a_table_in_which_all_was_refused_is_accepted() -> None:
    judge(seen())


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda found: found["rows"][0].update(posted=None), "was taken when it was posted"),
        (lambda found: found["rows"][0]["webhook"].update(said="delivered"), r"not refused at the connect \(webhook\)"),
        (lambda found: found["rows"][0]["fetched"].update(said="answered 200"), r"not refused .* \(fetched\)"),
        (lambda found: found["rows"][0]["webhook"].update(said="no connection in time"), "no connection in time"),
        (lambda found: found["rows"][0]["webhook"].update(opens=1), "1 connections begun"),
        (lambda found: found.update(arrived=1), "1 connections arrived"),
        (lambda found: found.update(proxy_arrived=1), "1 at the environment's proxy"),
        (lambda found: found.update(active_opens=[7, 8]), "1 connections that no attempt accounts for"),
        (lambda found: found["controls"][0].update(opens=0), "0 connections begun"),
        (lambda found: found["controls"][0].update(arrived=0), "0 arrived"),
        (lambda found: found["controls"][0].update(said="address refused: x"), "instead of 'delivered'"),
        (lambda found: found.update(rows=[]), "nothing was tried"),
        (lambda found: found.update(controls=[]), "nothing was tried"),
    ],
)
def test_a_table_with_anything_that_got_through_is_refused(
    spoil: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    found = seen()
    spoil(found)
    with pytest.raises(BenchError, match=complaint):
        judge(found)


async def test_a_connection_of_the_attempt_itself_is_not_taken_for_another_programs() -> None:
    async with listening([free_port()]) as listeners:

        async def leak() -> str:
            _, writer = await asyncio.open_connection("127.0.0.1", listeners.ports[0])
            writer.close()
            return "leaked"

        attempt = await counted(leak, expected=0)
        assert attempt.opens >= 1
        assert attempt.tries == TRIES
        assert await listeners.arrived() == TRIES


async def test_what_arrived_is_counted_once() -> None:
    async with listening([free_port(), free_port()]) as listeners:
        assert await listeners.arrived() == 0
        _, writer = await asyncio.open_connection("127.0.0.1", listeners.ports[1])
        writer.close()
        assert await listeners.arrived() == 1
        assert await listeners.arrived() == 0


def test_the_name_server_changes_its_mind_between_look_ups_not_between_the_questions_of_one() -> None:
    server = NameServer(Names({"rebinding.example": [["93.184.215.14"], ["127.0.0.1", "::1"]]}))

    def ask(kind: int) -> bytes:
        return server.answer(b"\0\7\1\0\0\1" + bytes(6) + b"\x09rebinding\x07example\0" + bytes([0, kind, 0, 1]))

    a, aaaa = 1, 28
    assert ask(a).endswith(bytes([4, 93, 184, 215, 14]))
    assert ask(aaaa)[6:8] == b"\0\0"
    assert ask(aaaa).endswith(bytes(15) + b"\1")
    assert ask(a).endswith(bytes([4, 127, 0, 0, 1]))
    assert ask(a)[:2] == b"\0\7"
