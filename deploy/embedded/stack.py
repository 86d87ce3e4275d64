"""The composition of `darkroom up`: Valkey, S3 server, simulator, API, workers; whatever the user has is not run."""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

from darkroom.errors import ConfigurationError
from darkroom.settings import Settings
from darkroom.storage.bucket import Bucket, bucket_session
from darkroom.storage.errors import StorageUnavailableError
from deploy.embedded import banner
from deploy.embedded.child import Service
from deploy.embedded.lock import locked
from deploy.embedded.output import Output
from deploy.embedded.plan import Plan, UpOptions, make_plan
from deploy.embedded.processes import Command
from deploy.embedded.readiness import answers_http, answers_ping, beats_in, listens
from deploy.embedded.s3 import s3_command
from deploy.embedded.supervisor import Supervisor
from deploy.embedded.valkey import valkey_command

STORES, UPSTREAM, SERVICE = 1, 2, 3
"""Stages: later ones need the earlier ones, and stop before them."""

WORKER_GRACE_S = 75.0
API_GRACE_S = 15.0
BUCKET_TIMEOUT_S = 20.0
_LONGEST_LOG_BYTES = 1_000_000


def run_stack(settings: Settings, options: UpOptions) -> int:
    """Run everything until a signal; return the exit code.

    Raises:
        ConfigurationError: the data directory is in use, the port taken, or the user's bucket can't be used.
        EmbeddedServerError: a server's executable is not installed.
    """
    output = Output()
    with locked(settings.service.data_dir) as lock:
        plan = make_plan(settings, options)
        if plan.s3_port is None:
            asyncio.run(check_bucket(settings))
        output.say(banner.before(plan, output))
        supervisor = Supervisor(services(plan), output=output, inherited_fds=(lock,))
        code = asyncio.run(supervisor.run(started=lambda: output.say(banner.ready(plan, output))))
    output.say("Stopped." if code == 0 else "Stopped: a process could not be kept running, see above.")
    return code


async def check_bucket(settings: Settings) -> None:
    """See that the user's bucket is there before any job is accepted: its images would be paid and homeless.

    Raises:
        ConfigurationError: it is missing, refuses these credentials or can't be reached.
    """
    async with bucket_session(connections=1) as session:
        try:
            async with asyncio.timeout(BUCKET_TIMEOUT_S):
                await Bucket(settings.storage, session=session).check()
        except TimeoutError:
            said = f"{settings.storage.bucket} gave no answer in {BUCKET_TIMEOUT_S:g} s"
        except StorageUnavailableError as error:
            said = str(error)
        else:
            return
    where = settings.storage.endpoint_url or "AWS"
    raise ConfigurationError(
        [
            f"DARKROOM_S3_BUCKET: {said} (at {where}); mend it, or for the embedded bucket leave "
            "DARKROOM_S3_ENDPOINT_URL and DARKROOM_S3_BUCKET unset, in .env too"
        ]
    )


def services(plan: Plan) -> list[Service]:
    """Return what has to run, in order."""
    return [*_stores(plan), *_simulator(plan), _api(plan), *_workers(plan)]


def _stores(plan: Plan) -> Iterable[Service]:
    logs = plan.data_dir / "logs"
    logs.mkdir(exist_ok=True)
    if plan.valkey_port is not None:
        command = valkey_command(plan.valkey_dir, port=plan.valkey_port)
        yield Service(command, answers_ping(plan.redis_url), STORES, grace_s=30.0, log_path=_fresh(logs / "valkey.log"))
    if plan.s3_port is not None:
        command = s3_command(plan.data_dir / "s3", port=plan.s3_port, bucket=plan.bucket)
        yield Service(command, listens("127.0.0.1", plan.s3_port), STORES, log_path=_fresh(logs / "s3.log"))


def _simulator(plan: Plan) -> Iterable[Service]:
    if plan.simulator_port is None:
        return
    arguments = (
        *("--port", str(plan.simulator_port)),
        *("--tier", plan.tier),
        *("--state", str(plan.data_dir / "simulator.jsonl")),
        *plan.options.simulator_arguments,
    )
    yield Service(_darkroom("simulator", *arguments), listens("127.0.0.1", plan.simulator_port), UPSTREAM)


def _api(plan: Plan) -> Service:
    command = _darkroom("api", env=plan.env)
    return Service(command, answers_http(plan.connect_host, plan.port, "/healthz"), SERVICE, grace_s=API_GRACE_S)


def _workers(plan: Plan) -> Iterable[Service]:
    for number in range(1, plan.options.workers + 1):
        name = f"worker-{number}"
        concurrency = () if plan.options.concurrency is None else ("--concurrency", str(plan.options.concurrency))
        command = _darkroom("worker", "--name", name, *concurrency, name=name, env=plan.env)
        yield Service(command, beats_in(plan.redis_url, name), SERVICE, grace_s=WORKER_GRACE_S)


def _fresh(log_path: Path) -> Path:
    """Put a log that has grown aside; the one before it goes."""
    if log_path.exists() and log_path.stat().st_size > _LONGEST_LOG_BYTES:
        log_path.replace(log_path.with_suffix(".log.old"))
    return log_path


def _darkroom(subcommand: str, *arguments: str, name: str = "", env: dict[str, str] | None = None) -> Command:
    return Command(name or subcommand, (sys.executable, "-m", "darkroom.cli", subcommand, *arguments), env or {})
