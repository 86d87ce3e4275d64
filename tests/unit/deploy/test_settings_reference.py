"""The settings reference and `.env.example` say what the classes say."""

from pathlib import Path

import pytest

from darkroom.settings import AREAS, load_settings
from deploy.settings_reference import FILES, example, reference


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_is_up_to_date(path: Path) -> None:
    assert path.read_text() == FILES[path](), "run `make settings`"


def test_every_variable_is_in_both() -> None:
    variables = [str(field.validation_alias) for area in AREAS for field in area.model_fields.values()]
    assert all(f"| `{variable}` |" in reference() for variable in variables)
    assert all(f"#{variable}=" in example() for variable in variables)


def test_the_examples_defaults_are_settings_that_load(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in example().splitlines():
        if line.startswith("#") and not line.startswith("# "):
            name, _, value = line.removeprefix("#").partition("=")
            monkeypatch.setenv(name, value)
    load_settings()
