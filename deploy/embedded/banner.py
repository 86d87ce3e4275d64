"""What `darkroom up` says of itself: what is simulated, where everything is, and a line to try."""

import json
import shlex
from pathlib import Path

from deploy.embedded.output import Output
from deploy.embedded.plan import TENANT, Plan

_EXAMPLE = {"prompt": "A paper boat crossing a puddle, four panels, watercolour", "max_images": 4}


def before(plan: Plan, output: Output) -> str:
    """Return what has to be said before anything is started: whether money will be spent."""
    if plan.simulated:
        text = "SIMULATED UPSTREAM: no real image is generated and no money is spent. WAVESPEED_API_KEY makes it real."
    else:
        text = f"REAL UPSTREAM: every job spends money of the account at {plan.upstream_url} (tier {plan.tier})."
    return "\n".join([output.emphasis(text), *(f"note: {note}" for note in plan.notes)])


def ready(plan: Plan, output: Output) -> str:
    """Return what is said once everything runs."""
    directory = _short(plan.data_dir)
    upstream = f"SIMULATED at {plan.upstream_url}" if plan.simulated else f"REAL, {plan.upstream_url}: spends money"
    rows = [
        ("address", f"{plan.url} (API documentation at /docs)"),
        ("API key", f"{plan.credentials.api_key} (of the tenant {TENANT}; kept in {directory}/api-key)"),
        ("secrets", f"operator's key in {directory}/admin-key, webhook secret in {_webhook_secret(plan, directory)}"),
        ("upstream", f"{upstream}, tier {plan.tier}"),
        (
            "jobs",
            f"embedded Valkey, kept in {directory}/{plan.valkey_dir.name}"
            if plan.valkey_port
            else "Redis of DARKROOM_REDIS_URL",
        ),
        ("images", _images(plan, directory)),
        ("webhooks", _webhooks(plan)),
        ("workers", str(plan.options.workers)),
    ]
    lines = [f"  {name:<9} {text}" for name, text in rows]
    return "\n".join(
        ["", "Darkroom is ready.", *lines, "", "Try:", "", f"  {curl_line(plan)}", "", "Ctrl-C stops everything.", ""]
    )


def curl_line(plan: Plan) -> str:
    """Return a command that submits a job, ready to be pasted into a shell."""
    return shlex.join(
        [
            "curl",
            "-sS",
            f"{plan.url}/v1/jobs",
            *("-H", f"Authorization: Bearer {plan.credentials.api_key}"),
            *("-H", "Content-Type: application/json"),
            *("-d", json.dumps(_EXAMPLE)),
        ]
    )


def _images(plan: Plan, directory: str) -> str:
    if plan.s3_port is None:
        return f"your bucket {plan.bucket}"
    return (
        f"embedded S3 at http://127.0.0.1:{plan.s3_port}, bucket {plan.bucket}, kept in {directory}/s3/objects "
        f"(keys in {directory}/s3)"
    )


def _webhooks(plan: Plan) -> str:
    networks = plan.env.get("DARKROOM_WEBHOOK_ALLOW_NETWORKS")
    if networks is None:
        return "may reach the networks of DARKROOM_WEBHOOK_ALLOW_NETWORKS and public addresses"
    return f"may reach THIS MACHINE itself ({networks}) and public addresses"


def _webhook_secret(plan: Plan, directory: str) -> str:
    return f"{directory}/webhook-secret" if "DARKROOM_WEBHOOK_SECRET" in plan.env else "DARKROOM_WEBHOOK_SECRET"


def _short(path: Path) -> str:
    """Return the path as seen from here where it is below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
