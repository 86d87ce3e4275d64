"""Putting the simulator together and running it: as a blocking process (`serve`) or inside a loop (`Simulator`)."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from simulator.api import Api
from simulator.control import Control
from simulator.disturb import Disturber
from simulator.journal import Journal
from simulator.outputs import Outputs
from simulator.settings import SimulatorOptions
from simulator.wire import ErrorShapes
from simulator.world import World

_MAX_BODY_BYTES = 4 * 1024 * 1024
_STOP_S = 0.3


class Simulator:
    """One simulated upstream on one port. `start` and `stop` on the same event loop; it can listen again after."""

    def __init__(self, options: SimulatorOptions) -> None:
        options.settings.check()
        self.options = options
        self.port = options.port
        self.world = World(options.settings)
        self._stopping = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._shapes = ErrorShapes()
        self._disturber = Disturber(self.world, self._shapes, self._stopping)
        self._outputs = Outputs(self.world, self._disturber, "")
        self._api = Api(self.world, self._shapes, self._disturber, self._outputs)
        self._journal: Journal | None = None
        self._control = Control(self.world, self._api, self._outputs, is_open=options.open_control)

    @property
    def url(self) -> str:
        """Where clients reach it; also the beginning of every address it hands out."""
        return self.options.public_url or f"http://{_for_url(self.options.host)}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises `OSError` if the port is taken."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.add_routes(self._control.routes())
        app.add_routes(self._api.routes())
        app.on_response_prepare.append(self._set_date)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=_STOP_S, handle_signals=False
        )
        await self._runner.setup()
        if self.options.state_path is not None:
            self._journal = Journal(self.world, Path(self.options.state_path))
            self._control.on_reset.append(self._journal.clear)
        await self.listen()
        self._outputs.base_url = self.url.rstrip("/")

    async def listen(self) -> None:
        """Open the port, the same one as before if it was open already."""
        family = socket.AF_INET6 if ":" in self.options.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.options.host, self.port))
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        self._site = web.SockSite(self._started(), listener, backlog=1024)
        await self._site.start()

    async def hang_up(self) -> None:
        """Close the port and every connection, as if the upstream went down; tasks go on."""
        server = self._started().server
        if self._site is not None:
            await self._site.stop()
            self._site = None
        if server is not None:
            for connection in server.connections:
                if connection.transport is not None:
                    connection.transport.abort()

    async def stop(self) -> None:
        """Stop within about a second, however many calls hang."""
        self._stopping.set()
        await self._api.callbacks.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._outputs.pictures.close()
        if self._journal is not None:
            self._journal.close()

    def _started(self) -> web.AppRunner:
        if self._runner is None:
            raise RuntimeError("start the simulator first")
        return self._runner

    async def _set_date(self, request: web.Request, response: web.StreamResponse) -> None:
        if self.world.clock.is_shifted:
            response.headers["Date"] = self.world.clock.http_date()


def serve(options: SimulatorOptions) -> None:
    """Run a simulator until SIGTERM or SIGINT. Says loudly that nothing here is real."""
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(_serve(options))


async def _serve(options: SimulatorOptions) -> None:
    simulator = Simulator(options)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await simulator.start()
        _announce(simulator)
        await stop.wait()
    finally:
        await simulator.stop()


def _announce(simulator: Simulator) -> None:
    settings = simulator.options.settings
    sys.stderr.write(
        f"*** SIMULATION *** This is a simulated WaveSpeed at {simulator.url}: no real images are generated, "
        f"no money is spent.\n"
        f"    tier {settings.tier}: {settings.rate_limit()} images a minute, {settings.concurrency_limit()} at once; "
        f"inference {settings.inference_min_s:g}-{settings.inference_max_s:g} s; "
        f"control at {simulator.url}/_simulator/stats\n"
    )
    sys.stderr.flush()


def _for_url(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - nothing is bound here
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
