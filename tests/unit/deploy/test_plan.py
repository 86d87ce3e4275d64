"""What `darkroom up` embeds, what it takes from the user, and what it says of it."""

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from darkroom.settings import load_settings
from deploy.embedded import banner
from deploy.embedded.output import Output
from deploy.embedded.plan import Plan, UpOptions, make_plan
from deploy.embedded.stack import services

OUTPUT = Output(io.StringIO())
PlanMaker = Callable[..., Plan]


@pytest.fixture
def plan_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanMaker:
    def make(options: UpOptions | None = None, **env: str) -> Plan:
        monkeypatch.setenv("DARKROOM_DATA_DIR", str(tmp_path))
        monkeypatch.setenv("DARKROOM_PORT", "0")
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        return make_plan(load_settings(), options or UpOptions())

    return make


def names(plan: Plan) -> list[str]:
    return [service.name for service in services(plan)]


def argv(plan: Plan, name: str) -> tuple[str, ...]:
    return next(service.command.argv for service in services(plan) if service.name == name)


def test_with_nothing_set_everything_is_embedded_and_simulated(plan_with: PlanMaker) -> None:
    plan = plan_with()
    assert names(plan) == ["valkey", "s3", "simulator", "api", "worker-1"]
    assert plan.simulated
    assert plan.env["WAVESPEED_TIER"] == "ultra"
    assert plan.env["DARKROOM_WEBHOOK_ALLOW_NETWORKS"] == "127.0.0.0/8,::1/128"
    assert "SIMULATED" in banner.before(plan, OUTPUT)
    assert "THIS MACHINE" in banner.ready(plan, OUTPUT)


def test_with_a_key_the_real_upstream_is_used_and_its_cost_is_said(plan_with: PlanMaker) -> None:
    plan = plan_with(WAVESPEED_API_KEY="real-key")
    assert names(plan) == ["valkey", "s3", "api", "worker-1"]
    assert plan.env["WAVESPEED_TIER"] == "bronze"
    assert plan.env["WAVESPEED_BASE_URL"] == "https://api.wavespeed.ai"
    said = banner.before(plan, OUTPUT) + banner.ready(plan, OUTPUT)
    assert "spends money" in said
    assert "SIMULATED" not in said
    assert "real-key" not in said


def test_a_redis_and_a_bucket_of_the_users_own_are_used(plan_with: PlanMaker) -> None:
    plan = plan_with(
        DARKROOM_REDIS_URL="redis://:hunter2@redis.example:6379/0", DARKROOM_S3_ENDPOINT_URL="https://s3.example"
    )
    assert names(plan) == ["simulator", "api", "worker-1"]
    assert plan.env["DARKROOM_REDIS_URL"] == "redis://:hunter2@redis.example:6379/0"
    assert "AWS_ACCESS_KEY_ID" not in plan.env
    said = banner.ready(plan, OUTPUT)
    assert "Redis of DARKROOM_REDIS_URL" in said
    assert "hunter2" not in said


def test_a_named_bucket_with_aws_credentials_is_the_users_own(plan_with: PlanMaker) -> None:
    plan = plan_with(DARKROOM_S3_BUCKET="pictures", AWS_ACCESS_KEY_ID="AKIA", AWS_SECRET_ACCESS_KEY="x")
    assert "s3" not in names(plan)


def test_aws_credentials_that_lie_around_are_not_used_and_that_is_said(plan_with: PlanMaker) -> None:
    plan = plan_with(AWS_ACCESS_KEY_ID="AKIA", AWS_SECRET_ACCESS_KEY="x")
    assert "s3" in names(plan)
    assert plan.env["AWS_ACCESS_KEY_ID"] != "AKIA"
    assert "AWS credentials are not used" in banner.before(plan, OUTPUT)


def test_the_embedded_bucket_has_the_name_that_was_set(plan_with: PlanMaker, tmp_path: Path) -> None:
    plan = plan_with(DARKROOM_S3_BUCKET="pictures")
    assert "s3" in names(plan)
    assert plan.env["DARKROOM_S3_BUCKET"] == "pictures"
    assert (tmp_path / "s3" / "objects" / "pictures").is_dir()


def test_the_users_keys_tier_and_networks_stay_in_force(plan_with: PlanMaker) -> None:
    plan = plan_with(
        DARKROOM_API_KEYS="acme:dk_acme", WAVESPEED_TIER="silver", DARKROOM_WEBHOOK_ALLOW_NETWORKS="10.0.0.0/8"
    )
    assert plan.env["DARKROOM_API_KEYS"] == f"acme:dk_acme,local:{plan.credentials.api_key}"
    assert plan.env["WAVESPEED_TIER"] == "silver"
    assert "DARKROOM_WEBHOOK_ALLOW_NETWORKS" not in plan.env
    arguments = argv(plan, "simulator")
    assert arguments[arguments.index("--tier") + 1] == "silver"
    assert "THIS MACHINE" not in banner.ready(plan, OUTPUT)


def test_no_secret_is_on_a_command_line(plan_with: PlanMaker) -> None:
    plan = plan_with(DARKROOM_API_KEYS="acme:dk_acme")
    lines = " ".join(" ".join(service.command.argv) for service in services(plan))
    secrets = [
        value.rpartition(":")[2]
        for name, value in plan.env.items()
        if "KEY" in name or "SECRET" in name
        if value != "simulated"
    ]
    assert len(secrets) >= 5
    assert [secret for secret in secrets if secret and secret in lines] == []


def test_workers_stop_before_the_stores_and_have_their_grace(plan_with: PlanMaker) -> None:
    by_name = {service.name: service for service in services(plan_with(UpOptions(workers=2)))}
    assert by_name["worker-2"].grace_s == 75
    assert by_name["worker-1"].stage > by_name["simulator"].stage > by_name["valkey"].stage


def test_the_curl_line_survives_a_shell(plan_with: PlanMaker) -> None:
    plan = plan_with()
    words = shlex.split(banner.curl_line(plan))
    assert words[0] == "curl"
    assert f"Authorization: Bearer {plan.credentials.api_key}" in words
    assert json.loads(words[-1])["max_images"] == 4


def test_jobs_of_simulated_and_real_runs_are_kept_apart(plan_with: PlanMaker) -> None:
    simulated = plan_with()
    real = plan_with(WAVESPEED_API_KEY="ws_real")
    assert simulated.valkey_dir != real.valkey_dir
