"""What `darkroom up` runs and what it takes from the user: read from the settings, before anything is started."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from darkroom.errors import ConfigurationError
from darkroom.settings import Settings
from deploy.embedded.credentials import Credentials, ensure_credentials
from deploy.embedded.ports import remembered_ports
from deploy.embedded.processes import free_port, port_is_free
from deploy.embedded.s3 import REGION, s3_endpoint_url, s3_keys
from deploy.embedded.valkey import valkey_url

TENANT = "local"
SIMULATED_KEY = "simulated"
"""What stands for an account's key where the upstream is the simulator, which takes any."""

LOOPBACK_NETWORKS = "127.0.0.0/8,::1/128"

_AWS_SOURCES = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI")


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the command line of `darkroom up` says."""

    workers: int = 1
    concurrency: int | None = None
    simulator_arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the processes and the banner need to know. `env` goes to the API and the workers."""

    data_dir: Path
    host: str
    port: int
    options: UpOptions
    credentials: Credentials
    redis_url: str = field(repr=False)
    bucket: str
    upstream_url: str
    tier: str
    env: dict[str, str] = field(repr=False)
    valkey_port: int | None = None
    s3_port: int | None = None
    simulator_port: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether the upstream is the simulator."""
        return self.simulator_port is not None

    @property
    def valkey_dir(self) -> Path:
        """Where the embedded Valkey keeps the jobs."""
        return _valkey_dir(self.data_dir, simulated=self.simulated)

    @property
    def connect_host(self) -> str:
        """The address at which this machine reaches the API."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - nothing is bound here

    @property
    def url(self) -> str:
        """The API's address."""
        host = f"[{self.connect_host}]" if ":" in self.connect_host else self.connect_host
        return f"http://{host}:{self.port}"


def make_plan(settings: Settings, options: UpOptions) -> Plan:
    """Decide what is embedded and what is the user's own, and make the keys and addresses that are missing.

    Call it with the data directory locked.

    Raises:
        ConfigurationError: the API's port is taken.
    """
    data_dir = settings.service.data_dir.absolute()
    host, port = settings.service.host, _api_port(settings)
    embedded = [
        name
        for name, wanted in (
            ("valkey", not _is_set(settings.redis, "redis_url")),
            ("s3", not _has_own_bucket(settings)),
            ("simulator", settings.upstream.api_key is None),
        )
        if wanted
    ]
    ports = remembered_ports(data_dir, tuple(embedded))
    credentials = ensure_credentials(data_dir)
    valkey_dir = _valkey_dir(data_dir, simulated="simulator" in ports)
    redis_url = valkey_url(valkey_dir, port=ports["valkey"]) if "valkey" in ports else settings.redis.redis_url
    tier = _tier(settings)
    upstream_url = f"http://127.0.0.1:{ports['simulator']}" if "simulator" in ports else settings.upstream.base_url
    env = {
        "DARKROOM_DATA_DIR": str(data_dir),
        "DARKROOM_HOST": host,
        "DARKROOM_PORT": str(port),
        "DARKROOM_REDIS_URL": redis_url,
        "WAVESPEED_BASE_URL": upstream_url,
        "WAVESPEED_TIER": tier,
        "PYTHONUNBUFFERED": "1",
        **_secrets(settings, credentials),
        **(_s3_env(data_dir, ports["s3"], settings.storage.bucket) if "s3" in ports else {}),
    }
    if "simulator" in ports:
        env["WAVESPEED_API_KEY"] = SIMULATED_KEY
    if not _is_set(settings.webhooks, "allow_networks"):
        env["DARKROOM_WEBHOOK_ALLOW_NETWORKS"] = LOOPBACK_NETWORKS
    return Plan(
        data_dir=data_dir,
        host=host,
        port=port,
        options=options,
        credentials=credentials,
        redis_url=redis_url,
        bucket=settings.storage.bucket,
        upstream_url=upstream_url,
        tier=tier,
        env=env,
        valkey_port=ports.get("valkey"),
        s3_port=ports.get("s3"),
        simulator_port=ports.get("simulator"),
        notes=_notes(settings),
    )


def _valkey_dir(data_dir: Path, *, simulated: bool) -> Path:
    """Keep the jobs of simulated runs apart: what one leaves waiting must never be bought by a real one."""
    return data_dir / ("valkey" if simulated else "valkey-real")


def _api_port(settings: Settings) -> int:
    host, port = settings.service.host, settings.service.port
    if port == 0:
        return free_port()
    if not port_is_free(port, host):
        raise ConfigurationError(
            [f"DARKROOM_PORT: {host}:{port} can't be listened on (in use?); set another one, or 0 for any free one"]
        )
    return port


def _is_set(area: object, name: str) -> bool:
    """Say whether the user set it, in the environment or `.env`."""
    fields: set[str] = getattr(area, "model_fields_set", set())
    return name in fields


def _has_own_bucket(settings: Settings) -> bool:
    """Say whether the user means a bucket of their own.

    AWS credentials alone don't say so: many shells carry some for another purpose, and they may be somebody's bill.
    """
    if settings.storage.endpoint_url is not None:
        return True
    credentials = settings.storage.access_key_id is not None or any(os.environ.get(name) for name in _AWS_SOURCES)
    return _is_set(settings.storage, "bucket") and credentials


def _tier(settings: Settings) -> str:
    simulated = settings.upstream.api_key is None
    return "ultra" if simulated and not _is_set(settings.upstream, "tier") else settings.upstream.tier


def _secrets(settings: Settings, credentials: Credentials) -> dict[str, str]:
    """Return the keys of the service: the user's own, and beside them the ones made here, which the banner names."""

    def joined(secret: object, own: str) -> str:
        theirs = secret.get_secret_value() if hasattr(secret, "get_secret_value") else ""
        return f"{theirs},{own}" if theirs else own

    env = {
        "DARKROOM_API_KEYS": joined(settings.service.api_keys_text, f"{TENANT}:{credentials.api_key}"),
        "DARKROOM_ADMIN_KEYS": joined(settings.service.admin_keys_text, f"operator:{credentials.admin_key}"),
    }
    if settings.webhooks.secret is None:
        env["DARKROOM_WEBHOOK_SECRET"] = credentials.webhook_secret
    return env


def _s3_env(data_dir: Path, port: int, bucket: str) -> dict[str, str]:
    access_key_id, secret_access_key = s3_keys(data_dir / "s3")
    return {
        "DARKROOM_S3_ENDPOINT_URL": s3_endpoint_url(port),
        "DARKROOM_S3_BUCKET": bucket,
        "DARKROOM_S3_REGION": REGION,
        "DARKROOM_S3_ADDRESSING": "path",
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret_access_key,
        "AWS_SESSION_TOKEN": "",  # the shell's own would not match
    }


def _notes(settings: Settings) -> tuple[str, ...]:
    """Return what the user set in vain, so that nobody wonders."""
    notes = []
    if settings.upstream.api_key is None and _is_set(settings.upstream, "base_url"):
        notes.append("WAVESPEED_BASE_URL is not used: without a WAVESPEED_API_KEY the upstream is simulated")
    if settings.storage.access_key_id is not None and not _has_own_bucket(settings):
        notes.append(
            "AWS credentials are not used: set DARKROOM_S3_BUCKET (and DARKROOM_S3_ENDPOINT_URL) for a bucket of yours"
        )
    if settings.service.auth == "off":
        notes.append("DARKROOM_AUTH is off: whoever reaches this address needs no key and may do everything")
    return tuple(notes)
