"""Copying outputs into the bucket: MB a CPU-second and memory, beside httpx with boto3, and commands of a shell."""

import shlex
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config

from bench.figures import BenchError, Outcome
from bench.memory import MB
from bench.parts.contest import DARKROOM, Seen, Side, compare, run_side
from bench.peers.sides import BIN
from bench.waiting import wait_for
from darkroom.upstream.outcomes import MODEL
from deploy.embedded.s3 import EmbeddedS3, embedded_s3, rclone_binary
from simulator.testing import SimulatorProcess, simulator_process

KEY = "ws_bench"
IMAGES = 15
LIMIT = 100_000_000
READY_S = 60.0
PUT_LASTS_S = 3_600

CURL, S5CMD, RCLONE = "curl | curl", "curl | s5cmd", "rclone copyurl"
SIDES = (
    Side(DARKROOM, "copying_darkroom"),
    Side("httpx + upload_fileobj", "copying_boto3"),
    Side(CURL, "copying_commands"),
    Side(S5CMD, "copying_commands"),
    Side(RCLONE, "copying_commands"),
)
IN_PYTHON = SIDES[:2]


@dataclass(frozen=True, slots=True)
class Load:
    """Sizes in bytes with how many copies of each a side makes, how many of them at once, and how often."""

    copies: tuple[tuple[int, int], ...] = ((100_000, 200), (16 * MB, 64))
    at_once: int = 32
    rounds: int = 5
    sides: tuple[Side, ...] = SIDES


def run(load: Load) -> Outcome:
    """Let each side copy the same outputs in turn, round after round; what lies in the bucket then is counted."""
    seen: list[Seen] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        s3 = stack.enter_context(embedded_s3(Path(scratch)))
        upstream = stack.enter_context(
            simulator_process(inference_min_s=0.1, inference_max_s=0.1, images_per_minute=LIMIT, max_concurrency=LIMIT)
        )
        figures = []
        for least, copies in load.copies:
            upstream.settings(image_bytes=least)
            urls = _outputs(upstream, min(copies, load.at_once))
            size = _length(urls)
            mine = [
                _copy(side, urls, copies, size, s3=s3, upstream=upstream, load=load, number=number)
                for number, side in product(range(1, load.rounds + 1), load.sides)
            ]
            figures += compare(mine, "copied", "MB", amount=size / MB)
            seen += mine
    return Outcome("copying", asdict(load), figures, [item.raw() for item in seen])


def _copy(
    side: Side,
    urls: list[str],
    copies: int,
    size: int,
    *,
    s3: EmbeddedS3,
    upstream: SimulatorProcess,
    load: Load,
    number: int,
) -> Seen:
    folder = f"{side.module}-{SIDES.index(side)}"
    # By itself: of two that write the first objects of a folder at once, rclone's server may answer one 500.
    _client(s3).put_object(Bucket=s3.bucket, Key=f"{folder}/made", Body=b"")
    pairs = [(urls[n % len(urls)], f"{folder}/{n:04d}.png") for n in range(copies)]
    task: dict[str, Any] = {
        "upstream_url": upstream.url,
        "endpoint_url": s3.endpoint_url,
        "region": s3.region,
        "bucket": s3.bucket,
        "at_once": load.at_once,
        "warm_up": [(url, f"{folder}/first-{n:04d}.png") for n, url in enumerate(urls[: load.at_once])],
        "copies": pairs,
    }
    if side.module == "copying_commands":
        put_urls = _put_urls(s3, [key for _, key in pairs]) if side.name == CURL else [""] * copies
        task["commands"] = [
            _command(side.name, url, key, size, s3, put) for (url, key), put in zip(pairs, put_urls, strict=True)
        ]
    case = f"{copies:,} of {size / MB:.3g} MB, {load.at_once} at once"
    seen = run_side(side, task, part="copying", case=case, number=number, environment=_environment(s3))
    _check(s3, [key for _, key in pairs], size)
    return seen


def _command(name: str, url: str, key: str, size: int, s3: EmbeddedS3, put_url: str) -> str:
    """Write one copy as somebody would in a script."""
    get = f"curl -sSf {shlex.quote(url)}"
    if name == CURL:
        # S3 wants a length, which curl does not know of its standard input: left alone it would send chunks.
        headers = f"-H 'Content-Length: {size}' -H 'Transfer-Encoding:' -H 'Expect:'"
        return f"{get} | curl -sSf -T - {headers} {shlex.quote(put_url)}"
    if name == S5CMD:
        return f"{get} | {BIN / 's5cmd'} --endpoint-url {s3.endpoint_url} pipe s3://{s3.bucket}/{key}"
    return f"{rclone_binary()} copyurl --config '' {shlex.quote(url)} :s3:{s3.bucket}/{key}"


def _put_urls(s3: EmbeddedS3, keys: list[str]) -> list[str]:
    """Sign a PUT of each key beforehand, as one would for curl; what signing costs is not counted with it."""
    client = _client(s3)
    return [
        client.generate_presigned_url("put_object", Params={"Bucket": s3.bucket, "Key": key}, ExpiresIn=PUT_LASTS_S)
        for key in keys
    ]


def _client(s3: EmbeddedS3) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint_url,
        region_name=s3.region,
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def _environment(s3: EmbeddedS3) -> Mapping[str, str]:
    """Give the credentials as each side looks for them."""
    return {
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        "AWS_REGION": s3.region,
        "RCLONE_S3_PROVIDER": "Other",
        "RCLONE_S3_ENV_AUTH": "true",
        "RCLONE_S3_ENDPOINT": s3.endpoint_url,
        "RCLONE_S3_REGION": s3.region,
        "RCLONE_S3_NO_CHECK_BUCKET": "true",
    }


def _outputs(upstream: SimulatorProcess, count: int) -> list[str]:
    """Let upstream make so many outputs, and give their URLs."""
    urls: list[str] = []
    with httpx.Client(base_url=upstream.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
        while len(urls) < count:
            body = {"prompt": "bench", "size": "2048*2048", "max_images": IMAGES}
            answer = client.post(f"/api/v3/{MODEL}", json=body).raise_for_status()
            path = f"/api/v3/predictions/{answer.json()['data']['id']}/result"

            def outputs(path: str = path) -> list[str]:
                found: list[str] = client.get(path).raise_for_status().json()["data"]["outputs"]
                return found

            urls += wait_for(outputs, READY_S, what="the outputs to copy")
    return urls[:count]


def _length(urls: list[str]) -> int:
    """Give the length that all of them have, in bytes."""
    lengths = set()
    for url in urls:
        with httpx.stream("GET", url) as answer:
            lengths.add(int(answer.raise_for_status().headers["Content-Length"]))
    if len(lengths) != 1:
        raise BenchError(f"outputs of different lengths: {sorted(lengths)}")
    return lengths.pop()


def _check(s3: EmbeddedS3, keys: list[str], size: int) -> None:
    """Raise `BenchError` unless every copy is there as a whole; delete them, so that the next side makes its own."""
    for key in keys:
        path = s3.directory / "objects" / s3.bucket / key
        found = path.stat().st_size if path.exists() else 0
        if found != size:
            raise BenchError(f"{key} holds {found} bytes of {size}")
        path.unlink()
