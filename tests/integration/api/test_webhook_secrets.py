"""A tenant's webhook secrets and its default webhook over the API and the command."""

import json
import subprocess
from collections.abc import Callable

import httpx
import pytest

from tests.support.settings import ACME

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SECRETS, DEFAULT = "/v1/webhooks/secrets", "/v1/webhooks/default"


def test_a_secret_is_told_once_listed_hidden_and_revoked(acme: httpx.Client, umbra: httpx.Client) -> None:
    assert acme.get(SECRETS).json() == {"data": [], "operator_secret_until": None}
    answer = acme.post(SECRETS)
    made = answer.json()
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    assert made["secret"].startswith("whsec_")
    listed = acme.get(SECRETS).json()
    hidden = {"id": made["id"], "hint": f"whsec_…{made['secret'][-4:]}", "created_at": made["created_at"]}
    assert listed["data"] == [hidden | {"expires_at": None}]
    assert listed["operator_secret_until"] > made["created_at"]
    assert made["secret"] not in acme.get(SECRETS).text
    assert umbra.get(SECRETS).json()["data"] == []
    assert umbra.delete(f"{SECRETS}/{made['id']}").status_code == 404
    assert acme.delete(f"{SECRETS}/{made['id']}").status_code == 204
    assert acme.delete(f"{SECRETS}/{made['id']}").status_code == 404


def test_a_rotation_ends_the_one_before_after_its_overlap(acme: httpx.Client) -> None:
    first = acme.post(SECRETS, json={"overlap_seconds": 0}).json()
    second = acme.post(SECRETS, json={"overlap_seconds": 60}).json()
    ends = {row["id"]: row["expires_at"] for row in acme.get(SECRETS).json()["data"]}
    assert ends[second["id"]] is None
    assert ends[first["id"]] > second["created_at"]
    acme.post(SECRETS, json={"overlap_seconds": 0})
    assert len(acme.get(SECRETS).json()["data"]) == 1


def test_too_many_are_refused_in_words_that_help(acme: httpx.Client) -> None:
    for _ in range(10):
        assert acme.post(SECRETS).status_code == 201
    answer = acme.post(SECRETS)
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_secrets")
    assert "overlap of 0" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"overlap_seconds": -1}, ["body", "overlap_seconds"]),
        ({"overlap_seconds": 2_592_001}, ["body", "overlap_seconds"]),
        ({"overlap_seconds": "60"}, ["body", "overlap_seconds"]),
        ({"overlap": 60}, ["body", "overlap"]),
    ],
)
def test_a_wrong_overlap_is_refused(acme: httpx.Client, body: dict[str, object], loc: list[str]) -> None:
    answer = acme.post(SECRETS, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, loc)
    assert acme.get(SECRETS).json()["data"] == []


def test_an_operator_says_whose(acme: httpx.Client, operator: httpx.Client) -> None:
    assert operator.get(SECRETS).json()["errors"][0]["loc"] == ["query", "tenant"]
    assert operator.post(f"{SECRETS}?tenant=nobody").status_code == 422
    assert operator.get(f"{SECRETS}?tennant=acme").status_code == 422
    made = operator.post(f"{SECRETS}?tenant=acme").json()
    assert [row["id"] for row in acme.get(SECRETS).json()["data"]] == [made["id"]]
    assert acme.get(f"{SECRETS}?tenant=umbra").status_code == 403


def test_the_default_webhook_is_set_read_and_taken_away(acme: httpx.Client, umbra: httpx.Client) -> None:
    assert acme.get(DEFAULT).status_code == 404
    wanted = {"url": "https://example.com/hook", "events": ["job.completed"]}
    assert acme.put(DEFAULT, json=wanted).json() == wanted
    assert acme.get(DEFAULT).json() == wanted
    assert umbra.get(DEFAULT).status_code == 404
    assert acme.put(DEFAULT, json={"url": "https://example.com/x"}).json()["events"] is None
    assert acme.delete(DEFAULT).status_code == 204
    assert acme.delete(DEFAULT).status_code == 404


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"url": "https://127.0.0.1/"}, ["body", "url"]),
        ({"url": "http://example.com/"}, ["body", "url"]),
        ({"url": "https://example.com/", "events": []}, ["body", "events"]),
        ({}, ["body", "url"]),
    ],
)
def test_a_default_that_could_never_be_told_is_refused(
    acme: httpx.Client, body: dict[str, object], loc: list[str]
) -> None:
    answer = acme.put(DEFAULT, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, loc)
    assert acme.get(DEFAULT).status_code == 404


def test_the_command_does_the_same(run_command: Command, acme: httpx.Client) -> None:
    def webhooks(*arguments: str) -> str:
        done = run_command("webhooks", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert webhooks("secrets", "list", "--key", ACME) == "none of its own: the operator's secret signs\n"
    secret = webhooks("secrets", "rotate", "--tenant", "acme").strip()
    assert secret.startswith("whsec_")
    [known] = json.loads(webhooks("secrets", "list", "--tenant", "acme", "--json"))["data"]
    assert known["hint"].endswith(secret[-4:])
    assert "the operator's secret signs too until" in webhooks("secrets", "list", "--tenant", "acme")
    assert webhooks("secrets", "revoke", known["id"], "--key", ACME) == f"{known['id']} signs nothing any more\n"
    said = webhooks("default", "set", "https://example.com/hook", "--event", "job.failed", "--tenant", "acme")
    assert said == webhooks("default", "show", "--key", ACME) == "https://example.com/hook: job.failed\n"
    assert webhooks("default", "clear", "--tenant", "acme") == "there is no default webhook any more\n"
    missing = run_command("webhooks", "secrets", "list")
    assert (missing.returncode, "is required with an operator's key" in missing.stderr) == (1, True)
