"""How a setting is read: environment first, then `.env`; an empty value counts as unset."""

from typing import Annotated, Literal

from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

OnOff = Literal["on", "off"]


def split_commas(value: object) -> object:
    """Split `a, b,c` into its parts; leave anything but text as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


CommaList = Annotated[list[str], NoDecode, BeforeValidator(split_commas)]


class AreaSettings(BaseSettings):
    """Base of the settings areas: one small frozen class each, read only where a process starts."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )
