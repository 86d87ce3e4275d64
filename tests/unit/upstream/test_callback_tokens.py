"""Tokens of callbacks: they name one send, and nobody without the key can make or change one."""

import pytest

from darkroom.upstream.callback_tokens import SendName, make_token, read_token

KEY, OTHER = b"k" * 32, b"o" * 32
NAME = SendName("job_01KB0000000000000000000000", 2, 3)
TOKEN = make_token(NAME, KEY)


def test_a_token_names_its_send_and_needs_no_quoting() -> None:
    assert read_token(TOKEN, KEY) == NAME
    assert TOKEN.isascii()
    assert all(character.isalnum() or character in "._-" for character in TOKEN)


def test_each_send_has_a_token_of_its_own() -> None:
    others = [SendName(NAME.job_id, 2, 4), SendName(NAME.job_id, 3, 3), SendName("job_2", 2, 3)]
    assert len({make_token(name, KEY) for name in [NAME, *others]}) == 4


def test_a_token_of_another_key_is_nobodys() -> None:
    assert read_token(make_token(NAME, OTHER), KEY) is None


@pytest.mark.parametrize("part", range(4))
def test_a_token_that_was_changed_in_any_part_is_nobodys(part: int) -> None:
    parts = TOKEN.split(".")
    parts[part] = {0: "job_01KB0000000000000000000001", 1: "1", 2: "4"}.get(part, make_token(NAME, OTHER)[-22:])
    assert read_token(".".join(parts), KEY) is None


@pytest.mark.parametrize("position", range(len(TOKEN)))
def test_a_token_has_no_second_spelling(position: int) -> None:
    for character in "AQgw.0é":
        changed = TOKEN[:position] + character + TOKEN[position + 1 :]
        assert changed == TOKEN or read_token(changed, KEY) is None


@pytest.mark.parametrize(
    "token", ["", ".", "...", "....", "job.1.1", f"{TOKEN}.", f" {TOKEN}", f"{TOKEN}=", "\ud800.1.1.x"]
)
def test_what_is_no_token_is_nobodys(token: str) -> None:
    assert read_token(token, KEY) is None


def test_the_code_is_long_enough_to_be_guessed_by_nobody() -> None:
    assert len(TOKEN.rpartition(".")[2]) * 6 >= 128
