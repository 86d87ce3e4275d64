"""`darkroom webhooks` against a real API, as an operator or a tenant types it."""

import json
import subprocess
from collections.abc import Callable
from functools import partial

import httpx
import pytest

from tests.integration.api.test_undelivered import lose
from tests.support.by_hand import ByHand
from tests.support.settings import ACME

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def webhooks(run_command: Command) -> Command:
    return partial(run_command, "webhooks")


def test_what_reached_nobody_is_listed_and_sent_again(
    webhooks: Command, acme: httpx.Client, umbra: httpx.Client, by_hand: ByHand
) -> None:
    assert webhooks("failed").stdout.startswith("none has ended undelivered since 20")
    mine, gone, foreign = lose(acme, by_hand), lose(acme, by_hand, status="gone"), lose(umbra, by_hand)
    everybodys = webhooks("failed").stdout
    assert {line.split()[1] for line in everybodys.splitlines()[1:]} == {"acme", "umbra"}
    assert all(delivery in everybodys for delivery in (mine, gone, foreign))
    page = json.loads(webhooks("failed", "--key", ACME, "--json").stdout)
    assert [row["id"] for row in page["data"]] == [mine, gone]
    assert webhooks("recover", "--since", "1h", "--tenant", "acme").stdout == "1 sent again\n"
    assert json.loads(webhooks("recover", "--since", "1h", "--gone", "--json").stdout) == {"recovered": 2}
    assert webhooks("failed").stdout.startswith("none has ended undelivered since 20")


def test_one_delivery_is_sent_again(webhooks: Command, acme: httpx.Client, by_hand: ByHand) -> None:
    delivery = lose(acme, by_hand)
    sent = webhooks("redeliver", delivery, "--key", ACME)
    assert (sent.returncode, sent.stdout) == (0, f"{delivery} is sent again to https://bad.example/hook\n")
    assert webhooks("redeliver", "dlv_x").returncode == 1


def test_hosts_that_fail_are_shown(webhooks: Command, acme: httpx.Client, by_hand: ByHand) -> None:
    assert webhooks("hosts").stdout == "no host fails and nothing waits for one\n"
    for _ in range(5):
        job_id = acme.post("/v1/jobs", json={"prompt": "x", "webhook": {"url": "https://bad.example/"}}).json()["id"]
        acme.post(f"/v1/jobs/{job_id}/cancel")
        by_hand.end_delivery(job_id, "exhausted", heard="failed")
    assert "bad.example" in webhooks("hosts").stdout
    assert json.loads(webhooks("hosts", "--json").stdout)[0]["breaker"] == "open"


@pytest.mark.parametrize(
    ("arguments", "env", "says"),
    [
        (["failed", "--key", ""], {}, "--key: the key is empty"),
        (["failed", "--key", "schlüssel"], {}, "--key: the key has signs that no key has"),
        (["failed", "--key", "a\r\nb"], {}, "--key: the key has signs that no key has"),
        (["hosts"], {"DARKROOM_ADMIN_KEYS": "ops:schlüssel"}, "DARKROOM_ADMIN_KEYS: the key has signs that no key has"),
        (["hosts"], {"DARKROOM_PUBLIC_URL": "", "DARKROOM_PORT": "abc"}, "DARKROOM_PORT: abc is no port"),
        (["listen", "--host", "nohost.invalid", "--secret", "whsec_AAAA"], {}, "--host: nohost.invalid:8787 can't be"),
        (["redeliver", ""], {}, "an id is empty"),
    ],
)
def test_what_is_wrong_is_named_as_it_was_typed(
    webhooks: Command, arguments: list[str], env: dict[str, str], says: str
) -> None:
    refused = webhooks(*arguments, **env)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"darkroom: {says}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["failed", "--tenant", "nobody"], "--tenant: is not a tenant with a key or a job"),
        (["recover", "--since", "1h", "--host", "https://bad.example/hook"], "--host: must be a host alone, such as"),
        (["default", "set", "ftp://x", "--tenant", "acme"], "URL: "),
    ],
)
def test_what_the_service_refuses_is_named_as_it_was_typed(webhooks: Command, arguments: list[str], says: str) -> None:
    refused = webhooks(*arguments)
    assert refused.returncode == 1
    assert says in refused.stderr
    assert "query" not in refused.stderr + refused.stdout
    assert "body" not in refused.stderr + refused.stdout


@pytest.mark.parametrize("since", ["soon", "24x", "999999d", ""])
def test_a_time_that_is_none_is_refused_in_one_line(webhooks: Command, since: str) -> None:
    refused = webhooks("failed", "--since", since)
    assert (refused.returncode, refused.stderr) == (
        2,
        "darkroom: --since: give a time such as 2026-11-25T08:00Z, or 30m, 24h, 7d\n",
    )


def test_a_time_of_day_is_taken(webhooks: Command) -> None:
    assert webhooks("failed", "--since", "2026-11-25T08:00Z").returncode == 0
