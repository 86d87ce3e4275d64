"""A simulated WaveSpeed: the vendor's API on a real port, with limits, a bill, callbacks, faults and drawn images.

It imports nothing of `darkroom`: a fake that shares the client's models shares its mistakes.
Use `python -m simulator`, `serve(SimulatorOptions(...))`, or, in tests, `simulator.testing.running_simulator`.
"""

from simulator.cli import run_simulator
from simulator.server import Simulator, serve
from simulator.settings import Settings, SettingsError, SimulatorOptions

__all__ = ["Settings", "SettingsError", "Simulator", "SimulatorOptions", "run_simulator", "serve"]
