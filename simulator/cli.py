"""The simulator's own command line: `python -m simulator --port 8787`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from simulator.server import serve
from simulator.settings import TIERS, Settings, SettingsError, SimulatorOptions


def run_simulator(
    host: str = "127.0.0.1",
    port: int = 8787,
    *,
    public_url: str | None = None,
    log_level: str = "INFO",
    open_control: bool = False,
    state_path: str | None = None,
    **settings: Any,
) -> None:
    """Run a simulator until it is told to stop; `settings` are fields of `Settings`.

    Raises `SettingsError` for settings that make no sense and `OSError` if the port is taken.
    """
    serve(
        SimulatorOptions(
            host=host,
            port=port,
            public_url=public_url,
            log_level=log_level,
            open_control=open_control,
            state_path=state_path,
            settings=Settings().changed(settings),
        )
    )


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    pairs = options.pop("set")
    settings = {name: value for name, value in options.items() if name in _SETTING_NAMES and value is not None}
    fixed = {name: value for name, value in options.items() if name not in _SETTING_NAMES}
    try:
        run_simulator(**fixed, **settings, **dict(_pair(text) for text in pairs))
    except (SettingsError, OSError) as error:
        parser.exit(2, f"simulator: {error}\n")


_SETTING_NAMES = {setting.name for setting in dataclasses.fields(Settings)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulator", description="A simulated WaveSpeed. No real images, no money.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8787, help="0 takes a free one (default 8787)")
    parser.add_argument("--public-url", help="the beginning of the addresses it hands out")
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--open-control", action="store_true", help="let other machines use /_simulator too")
    parser.add_argument("--state", dest="state_path", metavar="FILE", help="keep predictions across restarts")
    parser.add_argument("--tier", choices=sorted(TIERS))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--inference-min", dest="inference_min_s", type=float, metavar="S")
    parser.add_argument("--inference-max", dest="inference_max_s", type=float, metavar="S")
    parser.add_argument("--speed", type=float, help="2 halves the inference times")
    parser.add_argument("--image-bytes", type=int, metavar="N", help="serve plain PNGs of N bytes, for load tests")
    parser.add_argument("--balance", type=float, metavar="USD")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting")
    return parser


def _pair(text: str) -> tuple[str, Any]:
    """Read `name=value`, the value as JSON where it is JSON."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
