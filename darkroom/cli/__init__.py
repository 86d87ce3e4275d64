"""The `darkroom` command. What only a service needs is imported inside its commands: a client has none."""

try:
    from darkroom.cli.application import app
except KeyboardInterrupt:  # Ctrl-C in the first moments is no reason for a traceback
    raise SystemExit(130) from None

__all__ = ["app"]
