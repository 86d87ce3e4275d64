"""`darkroom webhooks listen` as somebody runs it, told by the real sender."""

import json
import signal
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.webhooks.conftest import Deliver
from tests.support.events import OTHER_SECRET as OLD
from tests.support.events import SECRET as NEW
from tests.support.events import event_body
from tests.support.launched import Launched, launched
from tests.support.waiting import wait_until_async

FOREIGN = "whsec_aW52YWxpZGludmFsaWRpbnZhbGlk"
LISTEN = [sys.executable, "-m", "darkroom.cli", "webhooks", "listen", "--port", "0"]


def listen(directory: Path, *arguments: str, **env: str) -> AbstractContextManager[Launched]:
    """Run the command for the time of a block."""
    return launched([*LISTEN, *arguments], directory, **env)


def lines(running: Launched) -> list[dict[str, Any]]:
    """Read what it has printed with --json."""
    return [json.loads(line) for line in running.out]


async def test_it_says_how_to_be_told_and_prints_each_delivery(tmp_path: Path, deliver: Deliver) -> None:
    body = event_body(job_id="job_7")
    with listen(tmp_path, DARKROOM_WEBHOOK_SECRET=NEW) as running:
        assert (await deliver(running.url, body)).status_code == 204
        assert (await deliver(running.url, body)).status_code == 204
        assert (await deliver(running.url, body, event_id="evt_2", secrets=(FOREIGN,))).status_code == 401
        assert (await deliver(running.url, body, event_id="evt_3", age_s=600)).status_code == 401
        await wait_until_async(lambda: len(running.out) == 4, what="four lines")
        assert running.stop(signal.SIGINT) == 0
    first, again, foreign, old = running.out
    shown = f"verified  job.completed  job_7  completed  evt_1  {len(body)} bytes"
    assert first.rstrip("\n").partition("  ")[2] == shown
    assert again.rstrip("\n").partition("  ")[2] == f"{shown}  repeat"
    assert "NOT VERIFIED" in foreign
    assert "(No matching signature found)" in foreign
    assert "(Message timestamp too old)" in old
    assert running.err == [
        f"listening on {running.url}, verifying with DARKROOM_WEBHOOK_SECRET "
        "(a tenant with a secret of its own needs --secret); Ctrl-C ends\n",
        f'in a job: {{"webhook": {{"url": "{running.url}"}}}}\n',
        "DARKROOM_WEBHOOK_ALLOW_NETWORKS must hold 127.0.0.0/8; `make run` sees to that\n",
    ]
    assert NEW not in running.output


async def test_it_ends_by_itself_after_so_many_with_json_alone_on_stdout(tmp_path: Path, deliver: Deliver) -> None:
    with listen(tmp_path, "--count", "2", "--json", "--secret", f"{NEW},{OLD}") as running:
        for event_id, secret in (("evt_1", OLD), ("evt_2", NEW)):
            assert (await deliver(running.url, event_body(), event_id=event_id, secrets=(secret,))).kind == "delivered"
        assert running.wait() == 0
    assert [(line["webhook_id"], line["verified"], line["answered"]) for line in lines(running)] == [
        ("evt_1", True, 204),
        ("evt_2", True, 204),
    ]
    assert set(lines(running)[0]) == {
        *("at", "verified", "problem", "answered", "type", "job_id", "status", "webhook_id", "repeat", "bytes")
    }


async def test_a_script_learns_from_the_exit_code_that_one_did_not_verify(tmp_path: Path, deliver: Deliver) -> None:
    with listen(tmp_path, "--count", "2", "--secret", NEW) as running:
        await deliver(running.url, event_body(), secrets=(FOREIGN,))
        await deliver(running.url, event_body())
        assert running.wait() == 1


@pytest.mark.parametrize("status", [200, 302, 410, 500, 503])
async def test_it_answers_what_it_is_told_to(status: int, tmp_path: Path, deliver: Deliver) -> None:
    with listen(tmp_path, "--count", "1", "--status", str(status), "--secret", NEW) as running:
        assert (await deliver(running.url, event_body())).status_code == status
        assert running.wait() == 0


@pytest.mark.parametrize("where", ["env file", "data of darkroom up"])
async def test_the_secret_is_found_where_the_service_has_it(where: str, tmp_path: Path, deliver: Deliver) -> None:
    if where == "env file":
        (tmp_path / ".env").write_text(f"DARKROOM_WEBHOOK_SECRET='{NEW}'\n")
    else:
        (tmp_path / ".darkroom").mkdir()
        (tmp_path / ".darkroom" / "webhook-secret").write_text(f"{NEW}\n")
    with listen(tmp_path, "--count", "1") as running:
        assert (await deliver(running.url, event_body())).kind == "delivered"
        assert running.wait() == 0


async def test_nothing_but_printable_characters_of_a_foreign_body_reach_the_terminal(
    tmp_path: Path, deliver: Deliver
) -> None:
    body = json.dumps({"type": "\x1b[2J\x1b]0;gone\x07", "data": {"id": "x" * 5_000 + "\n", "status": "\r"}}).encode()
    with listen(tmp_path, "--count", "1", "--secret", NEW) as running:
        await deliver(running.url, body, secrets=(FOREIGN,))
        running.wait()
    (line,) = running.out
    assert line.rstrip("\n").isprintable()
    assert len(line) < 500
