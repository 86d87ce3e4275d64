"""The image and the compose file, as far as they can be checked without a container engine."""

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from darkroom.cli import app
from darkroom.settings import AREAS

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def instructions(name: str) -> list[str]:
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith(name + " ")]


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[^\]]*\])?==([^ ;\\]+)", lock.read_text(), re.MULTILINE))


def test_the_compose_file_follows_the_compose_specification() -> None:
    check = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    result = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_dockerfile_satisfies_its_linter() -> None:
    result = subprocess.run([str(BIN / "hadolint"), str(DOCKERFILE)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_everything_that_the_dockerfile_copies_exists_and_is_sent_to_the_engine() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    for instruction in instructions("COPY"):
        words = [word for word in shlex.split(instruction) if not word.startswith("--chmod")]
        if words[0].startswith("--from"):
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in allowed, source


def test_the_image_runs_as_an_ordinary_user() -> None:
    assert instructions("USER")[-1] == "10001:10001"


def test_the_wheel_that_goes_into_the_image_carries_every_file_of_the_packages(tmp_path: Path) -> None:
    subprocess.run([str(BIN / "hatchling"), "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "darkroom", "api", "worker", "simulator"], cwd=ROOT, capture_output=True, text=True
    )
    needed = set(tracked.stdout.split()) if tracked.returncode == 0 else set()
    assert {"api/__init__.py", "worker/__init__.py", "darkroom/cli/__main__.py", "deploy/healthcheck.py"} <= packed
    assert needed - packed == set()


def test_the_images_locks_pin_what_the_tests_ran_with() -> None:
    tested = pins(ROOT / "requirements.lock")
    for lock in (DEPLOY / "requirements-server.lock", DEPLOY / "requirements-build.lock"):
        used = pins(lock)
        assert used, lock
        assert {name: version for name, version in used.items() if tested.get(name) != version} == {}


def test_the_images_lock_has_every_requirement_of_the_service() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["server"], *extras["simulator"]]
    names = {re.split(r"[\[<>=!~; ]", requirement)[0].lower() for requirement in wanted}
    assert names - set(pins(DEPLOY / "requirements-server.lock")) == set()


@pytest.mark.parametrize(
    "lock", ["requirements.lock", "deploy/requirements-server.lock", "deploy/requirements-build.lock"]
)
def test_a_lock_names_no_index_and_pins_by_hash(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--index" not in text
    assert text.count("--hash=sha256:") >= len(pins(ROOT / lock))


def test_every_command_in_the_compose_file_is_one_that_darkroom_has(compose: dict[str, Any]) -> None:
    commands = {
        service["command"][1] for service in compose["services"].values() if service["command"][0] == "darkroom"
    }
    assert commands == {"api", "worker", "simulator"}
    for command in commands | {shlex.split(instructions("CMD")[-1].strip("[]").replace(",", " "))[1]}:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_every_file_that_the_compose_file_mounts_exists(compose: dict[str, Any]) -> None:
    mounts = [volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", [])]
    files = [mount for mount in mounts if mount.startswith(".")]
    assert files
    assert all((ROOT / file).is_file() for file in files)
    assert {mount for mount in mounts if not mount.startswith(".")} == set(compose["volumes"])


def test_every_setting_that_the_compose_file_gives_is_one_that_exists(compose: dict[str, Any]) -> None:
    known = {str(field.validation_alias) for area in AREAS for field in area.model_fields.values()}
    for name in ("api", "worker"):
        assert set(compose["services"][name]["environment"]) - known == {"DARKROOM_SIMULATOR_URL"}


def test_every_service_is_checked_and_restarted_and_workers_get_their_grace(compose: dict[str, Any]) -> None:
    services = dict(compose["services"])
    assert services.pop("bucket")["restart"] == "no"
    assert all("healthcheck" in service and service["restart"] == "unless-stopped" for service in services.values())
    assert services["worker"]["stop_grace_period"] == "75s"


def test_no_port_is_published_beyond_this_machine(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_compose_valkey_is_as_durable_as_the_embedded_one() -> None:
    from deploy.embedded.valkey import CONFIG

    promised = {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction", 'save ""'}
    assert promised <= set(CONFIG.splitlines())
    assert promised <= set((DEPLOY / "compose" / "valkey.conf").read_text().splitlines())


def run_entrypoint(**env: str) -> dict[str, str]:
    result = subprocess.run(
        ["sh", str(DEPLOY / "entrypoint.sh"), "env"],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    shown = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
    return {**shown, "stderr": result.stderr}


def test_a_container_without_a_key_says_loudly_that_it_simulates() -> None:
    env = run_entrypoint(WAVESPEED_API_KEY="", DARKROOM_SIMULATOR_URL="http://simulator:8787", WAVESPEED_TIER="")
    assert env["WAVESPEED_BASE_URL"] == "http://simulator:8787"
    assert env["WAVESPEED_API_KEY"] == "simulated"
    assert env["WAVESPEED_TIER"] == "ultra"
    assert "SIMULATED" in env["stderr"]


def test_a_container_with_a_key_never_meets_the_simulator() -> None:
    env = run_entrypoint(WAVESPEED_API_KEY="real", DARKROOM_SIMULATOR_URL="http://simulator:8787")
    assert "WAVESPEED_BASE_URL" not in env
    assert env["WAVESPEED_API_KEY"] == "real"
    assert env["stderr"] == ""


def test_make_env_writes_fresh_keys_that_the_settings_accept_and_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from darkroom.settings import load_settings

    script = tmp_path / "deploy" / "compose" / "make-env.sh"
    script.parent.mkdir(parents=True)
    script.write_text((DEPLOY / "compose" / "make-env.sh").read_text())
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    env_file = tmp_path / ".env"
    assert env_file.stat().st_mode & 0o777 == 0o600
    for area in AREAS:
        monkeypatch.setitem(area.model_config, "env_file", str(env_file))
    settings = load_settings()
    assert list(settings.service.api_keys.values()) == ["local"]
    assert len(settings.webhooks.secrets) == 1
    before = env_file.read_text()
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    assert env_file.read_text() == before
