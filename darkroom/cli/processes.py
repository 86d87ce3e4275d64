"""The commands that run a process of the service: `up`, `api`, `worker` and `simulator`."""

import os
import socket
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer

from darkroom.cli.refusal import refusals, tell_unknown_names
from darkroom.errors import ConfigurationError
from darkroom.heap import settle_heap

LogLevel = Literal["debug", "info", "warning", "error"]
QUEUES = ("dispatch", "submit", "store", "notify")
KEEP_ALIVE_S = 75
"""Longer than the idle time of the usual load balancers, which would otherwise send into a closing connection."""

_GRACEFUL_S = 10


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(epilog="Example: darkroom up --port 8001 --workers 2")(up)
    app.command(epilog="Example: darkroom api --port 8000")(api)
    app.command(epilog="Example: darkroom worker --name w1 --queues submit,store")(worker)
    app.command(
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(simulator)


def up(
    host: Annotated[str | None, typer.Option(help="Address of the API, before DARKROOM_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the API, before DARKROOM_PORT; 0 takes a free one.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where data and keys are kept, before DARKROOM_DATA_DIR.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many worker processes.")] = 1,
    concurrency: Annotated[int | None, typer.Option(min=1, max=1024, help="Threads of each worker.")] = None,
    inference: Annotated[
        str | None, typer.Option(metavar="MIN:MAX", help="Seconds that the simulated upstream takes for a job.")
    ] = None,
    simulator_option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A setting of the simulator; may be repeated.")
    ] = None,
) -> None:
    """Run the whole service: API, workers and, where you have none of your own, Valkey, S3 and a simulated upstream."""
    _override(DARKROOM_HOST=host, DARKROOM_PORT=port, DARKROOM_DATA_DIR=data_dir)
    with refusals():
        from darkroom.settings import load_settings
        from deploy.embedded.plan import UpOptions
        from deploy.embedded.processes import EmbeddedServerError
        from deploy.embedded.stack import run_stack

        options = UpOptions(
            workers=workers,
            concurrency=concurrency,
            simulator_arguments=_simulator_arguments(inference, simulator_option or []),
        )
        try:
            code = run_stack(load_settings(), options)
        except EmbeddedServerError as error:
            raise ConfigurationError([str(error)]) from error
    raise typer.Exit(code)


def api(
    host: Annotated[str | None, typer.Option(help="Before DARKROOM_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Before DARKROOM_PORT; 0 takes a free one.")] = None,
) -> None:
    """Run one ingress process against the configured Redis, S3 and upstream."""
    _override(DARKROOM_HOST=host, DARKROOM_PORT=port)
    with refusals():
        import uvicorn

        from api.app import create_app
        from darkroom.settings import load_settings

        service = load_settings().service
        tell_unknown_names()
        application = create_app()
        listener = _listen(service.host, service.port)
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            loop="uvloop",
            http="httptools",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACEFUL_S,
        )
    )
    settle_heap()
    server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(3)


def worker(
    queues: Annotated[str, typer.Option(help="Which queues to work on, comma-separated.")] = ",".join(QUEUES),
    concurrency: Annotated[int | None, typer.Option(min=1, max=1024, help="Threads.")] = None,
    name: Annotated[str, typer.Option(help="Name of this worker; the machine's is added.")] = "worker",
    log_level: Annotated[LogLevel, typer.Option(help="What is logged from here on up.")] = "info",
) -> None:
    """Run one worker process: Celery's, with the poller inside."""
    with refusals():
        from darkroom.settings import load_settings

        load_settings()
        tell_unknown_names()
        wanted = [queue.strip() for queue in queues.split(",") if queue.strip()]
        unknown = [queue for queue in wanted if queue not in QUEUES]
        if unknown or not wanted:
            raise ConfigurationError([f"--queues: {', '.join(unknown) or 'none'}; there are {', '.join(QUEUES)}"])
        from celery.bin.celery import celery
        from celery.exceptions import SecurityWarning

        import worker.app  # noqa: F401 - refuses wrong settings before Celery says a word

    # Celery's warning is about pickled messages; here they are JSON only.
    warnings.filterwarnings("ignore", "You're running the worker with superuser privileges", SecurityWarning)
    arguments = [
        "--app=worker.app",
        "--quiet",
        "worker",
        "--pool=threads",
        f"--queues={','.join(wanted)}",
        f"--hostname={name}@%h",
        f"--loglevel={log_level}",
        "--without-mingle",  # nothing is shared between workers but what Redis holds
        "--without-gossip",
    ]
    if concurrency is not None:
        arguments.append(f"--concurrency={concurrency}")
    with refusals():
        code = celery.main(args=arguments, standalone_mode=False)  # `app.worker_main` would drop the exit code
    raise typer.Exit(code or 0)


def simulator(context: typer.Context) -> None:
    """Run the simulated WaveSpeed alone; `--help` lists its options."""
    with refusals():
        from simulator.cli import main

    main(context.args)


def _override(**variables: object) -> None:
    """Let what the command line says come before the environment, here and in child processes."""
    os.environ.update({name: str(value) for name, value in variables.items() if value is not None})


def _simulator_arguments(inference: str | None, pairs: list[str]) -> tuple[str, ...]:
    arguments: list[str] = []
    if inference is not None:
        shortest, _, longest = inference.partition(":")
        arguments += ["--inference-min", shortest, "--inference-max", longest or shortest]
    for pair in pairs:
        arguments += ["--set", pair]
    return tuple(arguments)


def _listen(host: str, port: int) -> socket.socket:
    """Open the port of the API.

    Raises:
        ConfigurationError: it is taken, or the address is not this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError([f"DARKROOM_HOST: {host}: {error.strerror}"]) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigurationError([f"DARKROOM_PORT: {host}:{port} can't be listened on: {error.strerror}"]) from error
    taken = listener.getsockname()
    sys.stderr.write(f"listening on http://{taken[0]}:{taken[1]}\n")
    return listener
