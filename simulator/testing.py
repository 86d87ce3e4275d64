"""A running simulator for tests: `with running_simulator(inference_min_s=0.1, inference_max_s=0.2) as sim: …`.

Depends on no test framework. By default the server runs in a thread of this process; `process=True` gives it a process
of its own, for load tests and for killing it.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from simulator.server import Simulator
from simulator.settings import Settings, SimulatorOptions

MODEL_PATH = "/api/v3/bytedance/seedream-v4.5/sequential"
_DEADLINE_S = 10.0


class ControlError(RuntimeError):
    """The control endpoint refused."""


class SimulatorControl:
    """A blocking client of the control endpoint."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ledger(self, prompt_contains: str | None = None) -> dict[str, Any]:
        """Return `{"predictions": [...], "totals": {...}}`."""
        query = "?" + urllib.parse.urlencode({"prompt_contains": prompt_contains}) if prompt_contains else ""
        return self._call("GET", "/ledger" + query)

    def predictions(self, prompt_contains: str | None = None) -> list[dict[str, Any]]:
        """Return the ledger's entries, oldest first."""
        entries: list[dict[str, Any]] = self.ledger(prompt_contains)["predictions"]
        return entries

    def stats(self) -> dict[str, Any]:
        """Return counters and high-water marks."""
        return self._call("GET", "/stats")

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings live (or none) and return all of them."""
        return self._call("PATCH", "/settings", changes) if changes else self._call("GET", "/settings")

    def fault(self, kind: str, **fields: Any) -> int:
        """Switch a fault on and return its id."""
        return int(self._call("POST", "/faults", {"kind": kind, **fields})["id"])

    def faults(self) -> list[dict[str, Any]]:
        """Return the live faults, each with how often it `fired`."""
        live: list[dict[str, Any]] = self._call("GET", "/faults")["faults"]
        return live

    def clear_faults(self, fault_id: int | None = None) -> None:
        """Switch one fault off, or all."""
        self._call("DELETE", "/faults" if fault_id is None else f"/faults/{fault_id}")

    def reset(self) -> None:
        """Forget predictions, faults and marks; settings stay."""
        self._call("POST", "/reset")

    def complete(self, prediction_id: str) -> None:
        """Finish a task by hand."""
        self._call("POST", f"/complete/{prediction_id}")

    def fail(self, prediction_id: str, code: int = 5000) -> None:
        """Fail a task by hand."""
        self._call("POST", f"/fail/{prediction_id}?code={code}")

    def wait_until(self, condition: Callable[[], object], timeout_s: float = _DEADLINE_S) -> None:
        """Wait until the condition holds; raise `TimeoutError` if it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("the simulator did not get there in time")
            time.sleep(0.01)

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        parts = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_DEADLINE_S)
        with closing(connection):
            connection.request(method, f"/_simulator{path}", data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer: dict[str, Any] = json.load(response)
        if response.status >= 400:
            raise ControlError(answer.get("error", f"HTTP {response.status}"))
        return answer


class RunningSimulator(SimulatorControl):
    """A simulator in a thread of this process."""

    def __init__(self, options: SimulatorOptions) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._thread.start()
        self._simulator = self._run(_started(options))
        super().__init__(self._simulator.url)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Close the port and all connections meanwhile; tasks go on and the same port opens again after."""
        self._run(self._simulator.hang_up())
        try:
            yield
        finally:
            self._run(self._simulator.listen())

    def close(self) -> None:
        """Stop the server and its thread."""
        self._run(self._simulator.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_DEADLINE_S)
        self._loop.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_DEADLINE_S)


class SimulatorProcess(SimulatorControl):
    """A simulator in a process of its own."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.log: list[str] = []
        changed = {name: value for name, value in vars(options.settings).items() if value != getattr(Settings(), name)}
        command = [sys.executable, "-m", "simulator", "--host", options.host, "--port", str(options.port)]
        if options.state_path:
            command += ["--state", options.state_path]
        for name, value in changed.items():
            command += ["--set", f"{name}={json.dumps(value)}"]
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        )
        self.greeting = self._stderr().readline()
        self._drain = threading.Thread(target=self._drain_stderr, daemon=True)
        self._drain.start()
        _, found, rest = self.greeting.partition(" at ")
        if not found:
            self.close()
            raise RuntimeError(f"the simulator did not start: {self.greeting}")
        super().__init__(rest.split(": ")[0])

    def _stderr(self) -> IO[str]:
        if self._process.stderr is None:
            raise RuntimeError("the process was started without a pipe")
        return self._process.stderr

    def _drain_stderr(self) -> None:
        with self._stderr() as stderr:
            for line in stderr:
                self.log.append(line)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it without warning (SIGKILL)."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(_DEADLINE_S)

    def close(self) -> int:
        """Stop it with SIGTERM and return its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        code = self._process.wait(_DEADLINE_S)
        self._drain.join(_DEADLINE_S)
        return code


@contextmanager
def running_simulator(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    public_url: str | None = None,
    state_path: str | None = None,
    **settings: Any,
) -> Iterator[RunningSimulator]:
    """Run a simulator in a thread on a free port; `settings` are fields of `Settings`."""
    options = SimulatorOptions(host, port, public_url, state_path=state_path, settings=Settings().changed(settings))
    simulator = RunningSimulator(options)
    try:
        yield simulator
    finally:
        simulator.close()


@contextmanager
def simulator_process(
    *, host: str = "127.0.0.1", port: int = 0, state_path: str | None = None, **settings: Any
) -> Iterator[SimulatorProcess]:
    """Run a simulator in a process of its own on a free port."""
    options = SimulatorOptions(host, port, state_path=state_path, settings=Settings().changed(settings))
    simulator = SimulatorProcess(options)
    try:
        yield simulator
    finally:
        simulator.close()


async def _started(options: SimulatorOptions) -> Simulator:
    simulator = Simulator(options)
    await simulator.start()
    return simulator
