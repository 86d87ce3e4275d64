"""The address guard's table: every form of address that was tried, what refused it, and that no packet left.

Posted to a real API, and tried at the connect by the code of a worker, in a network in which every address of the
world is one with a listener on it.
"""

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import orjson

from bench.figures import BenchError, Outcome, figure
from bench.fleet import START_TIMEOUT_S, answers, environment
from bench.guard.forms import LISTED_PORTS, forms
from bench.guard.judging import judge
from bench.guard.namespace import active_opens, entry
from bench.guard.page import page
from bench.processes import clean_environment, start_in
from bench.waiting import wait_for
from deploy.embedded.processes import free_port
from deploy.embedded.s3 import embedded_s3
from deploy.embedded.valkey import embedded_valkey

PROBE_TIMEOUT_S = 120.0
_NOBODY = "http://127.0.0.1:9"


def run() -> Outcome:
    """Try every form, and show that the counts move where a connection is allowed.

    Raises:
        BenchError: something got through, a count did not move where it should, or the system is not Linux.
    """
    active_opens()
    way_in = entry()
    port, proxy_port = (8080, 3128) if way_in is not None else (free_port(), free_port())
    posted = _post(port)
    found = _probe(port, proxy_port, way_in)
    for row in found["rows"]:
        row["posted"] = posted[row["url"]]
    judge(found)
    rows, controls = found["rows"], found["controls"]
    begun = sum(row[way]["opens"] for row in rows for way in ("webhook", "fetched") if row[way])
    counts: list[tuple[str, str, str, float]] = [
        ("forms to refuse", "tried", "forms", len(rows)),
        ("forms to refuse", "refused at posting", "forms", sum(row["posted"] is not None for row in rows)),
        ("forms to refuse", "names, taken at posting", "forms", sum(row["posted"] is None for row in rows)),
        ("forms to refuse", "refused at connecting, as a webhook", "forms", len(rows)),
        ("forms to refuse", "refused at connecting, as an output", "forms", sum(bool(row["fetched"]) for row in rows)),
        ("forms to refuse", "connections begun, by the kernel's count", "connections", begun),
        ("forms to refuse", "connections that arrived at a listener", "connections", found["arrived"]),
        (
            "forms to refuse",
            "connections that arrived at the environment's proxy",
            "connections",
            found["proxy_arrived"],
        ),
        ("controls that may connect", "tried", "attempts", len(controls)),
        ("controls that may connect", "connections begun", "connections", sum(item["opens"] for item in controls)),
        ("controls that may connect", "connections that arrived", "connections", sum(c["arrived"] for c in controls)),
    ]
    parameters = {
        "settings": _settings(port),
        "own_network": found["own_network"],
        "names": found["names"],
        "listeners": found["listeners"],
    }
    return Outcome("guard", parameters, [figure(*count) for count in counts], rows + controls, page=page(found))


def _settings(port: int) -> dict[str, str]:
    """Give the settings of the run: http is allowed, so that it is never the scheme that saves us."""
    return {
        "DARKROOM_WEBHOOK_ALLOW_HTTP": "on",
        "DARKROOM_WEBHOOK_ALLOW_NETWORKS": "",
        "DARKROOM_WEBHOOK_PORTS": ",".join(map(str, [*LISTED_PORTS, port])),
    }


def _post(port: int) -> dict[str, str | None]:
    """Post a job with each URL as its webhook to a real API; give the reason of the 422 by URL, None for a 202."""
    reasons: dict[str, str | None] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        scratch = Path(folder)
        valkey = stack.enter_context(embedded_valkey(scratch / "valkey"))
        s3 = stack.enter_context(embedded_s3(scratch / "s3"))
        env = environment(valkey.url, s3, _NOBODY) | _settings(port)
        api_port = free_port()
        api_url = f"http://127.0.0.1:{api_port}"
        api = start_in(stack, "api", "api", "--port", str(api_port), scratch=scratch, env=env)
        wait_for(lambda: answers(api, api_url, "/healthz"), START_TIMEOUT_S, what="the api to answer")
        key = env["DARKROOM_API_KEYS"].partition(":")[2]
        with httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {key}"}, timeout=10) as client:
            for form in forms(port):
                answer = client.post("/v1/jobs", json={"prompt": "guard", "webhook": {"url": form.url}})
                reasons[form.url] = _reason(answer)
    return reasons


def _reason(answer: httpx.Response) -> str | None:
    if answer.status_code == 202:
        return None
    if answer.status_code != 422 or answer.json()["errors"][0]["loc"] != ["body", "webhook", "url"]:
        raise BenchError(f"POST answers {answer.status_code}: {answer.text[:500]}")
    return str(answer.json()["errors"][0]["msg"])


def _probe(port: int, proxy_port: int, way_in: list[str] | None) -> dict[str, Any]:
    order = {"port": port, "proxy_port": proxy_port, "own_network": way_in is not None}
    proxy = f"http://127.0.0.1:{proxy_port}"
    proxies = {name: proxy for upper in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (upper, upper.lower())}
    done = subprocess.run(
        [*(way_in or []), sys.executable, "-m", "bench.guard.probe"],
        input=orjson.dumps(order),
        env=_without_exceptions(clean_environment()) | proxies,
        capture_output=True,
        timeout=PROBE_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"the probe failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
    found: dict[str, Any] = orjson.loads(done.stdout)
    return found


def _without_exceptions(environment: dict[str, str]) -> dict[str, str]:
    """Leave out what would keep the proxies of the environment from being used."""
    return {name: value for name, value in environment.items() if name.upper() not in ("NO_PROXY", "REQUEST_METHOD")}
