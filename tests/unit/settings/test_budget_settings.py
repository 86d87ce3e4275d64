"""Budgets are set in USD and held in whole images."""

import pytest

from darkroom.settings import load_settings


@pytest.mark.parametrize(
    ("daily", "batch", "caps"),
    [
        ("", "", {}),
        ("50", "", {"*": 1250}),
        ("0.04", "0.12", {"*": 1, ":batch": 3}),
        ("acme:0.119, umbra:1e3,*: 100", "", {"acme": 2, "umbra": 25_000, "*": 2_500}),
    ],
)
def test_an_amount_buys_so_many_whole_images(
    monkeypatch: pytest.MonkeyPatch, daily: str, batch: str, caps: dict[str, int]
) -> None:
    monkeypatch.setenv("DARKROOM_DAILY_BUDGET_USD", daily)
    monkeypatch.setenv("DARKROOM_BATCH_BUDGET_USD", batch)
    assert load_settings().service.caps == caps
