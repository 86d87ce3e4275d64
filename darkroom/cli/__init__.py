"""The `darkroom` command. What only a service needs is imported inside its commands: a client has none."""

from darkroom.cli.application import app

__all__ = ["app"]
