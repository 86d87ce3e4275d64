"""Where upstream is told to call back, and what becomes of that when it does not take the address."""

from types import SimpleNamespace
from typing import Any

import pytest

from darkroom.store.attempts import Ticket
from darkroom.upstream.callback_tokens import SendName, read_token
from worker.callbacks import REFUSED_FOR_S, Callbacks

KEY = b"k" * 32


class Store:
    """Has a key."""

    async def key(self) -> bytes:
        """Give it."""
        return KEY


def made(callbacks: str = "on", *, now_s: Any = None) -> Callbacks:
    settings: Any = SimpleNamespace(
        upstream=SimpleNamespace(callbacks=callbacks), service=SimpleNamespace(public_url="https://dr.example.com/at")
    )
    store: Any = Store()
    return Callbacks(settings, store, now_s=now_s or (lambda: 0.0))


async def test_the_address_is_ours_and_its_token_names_the_send() -> None:
    url = made().url(Ticket("job_1", 2, 9), send=3, key=KEY)
    before, _, token = url.rpartition("/")
    assert before == "https://dr.example.com/at/v1/upstream/callback"
    assert read_token(token, KEY) == SendName("job_1", 2, 3)


async def test_while_the_setting_is_off_nothing_is_asked_for() -> None:
    assert (await made("off").key(), await made("on").key()) == (None, KEY)


async def test_a_refused_address_is_not_named_again_for_a_while_and_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr("worker.callbacks.log", SimpleNamespace(error=lambda event, **_: said.append(event)))
    now_s = 0.0
    callbacks = made(now_s=lambda: now_s)
    for _ in range(3):
        callbacks.refused("no public address")
    assert await callbacks.key() is None
    assert said == ["callbacks.refused"]
    now_s = REFUSED_FOR_S
    assert await callbacks.key() == KEY
    callbacks.refused("no public address")
    assert said == ["callbacks.refused"] * 2
