"""Every measurement by its name, as it counts and on next to nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench import (
    batches,
    callbacks,
    cli_batch,
    fairness,
    growth,
    guard,
    latency,
    limiter,
    memory,
    reconcile,
    recovery,
    retention,
    saturation,
    scale,
    startup,
    throughput,
    webhook_isolation,
    webhook_kills,
    webhook_rate,
)
from bench.errand import Errand
from bench.figures import Outcome
from bench.parts import copying, ingress, polling
from bench.peers import curve, whole

Measurement = Callable[[], Outcome]
NAMES = (
    "latency", "callbacks", "memory", "startup", "fairness", "scale", "reconcile", "batches", "cli_batch", "saturation",
    "throughput", "growth", "recovery", "detection", "limiter_rate", "limiter_late_answers", "limiter_concurrency",
    "webhook_isolation", "webhook_rate", "webhook_kills", "webhook_delay", "guard", "retention",
    "polling", "copying", "ingress", "peers", "peers_long", "curve",
)  # fmt: skip
BESIDE_OTHERS = frozenset({"webhook_rate", "polling", "copying", "ingress", "peers", "peers_long", "curve"})
"""Those that count only with what `make peers` installs."""


def full(cases: list[latency.Case], depths: list[int] | None) -> dict[str, Measurement]:
    """Give what counts; `cases` are those of `latency`, `depths` those of `scale`."""
    return {
        "latency": lambda: latency.run(cases),
        "callbacks": lambda: callbacks.run(callbacks.CASE, rounds=callbacks.ROUNDS),
        "memory": lambda: memory.run(memory.LOADS),
        "startup": lambda: startup.run(startup.Starts()),
        "fairness": lambda: fairness.run("fairness", [fairness.CONCURRENCY_BINDS, fairness.RATE_BINDS]),
        "scale": lambda: scale.run(scale.Depths(tuple(sorted(depths))) if depths else scale.Depths()),
        "reconcile": lambda: reconcile.run(reconcile.Losses()),
        "batches": lambda: batches.run(batches.Sizes()),
        "saturation": lambda: saturation.run(saturation.Load()),
        "limiter_rate": lambda: limiter.run("limiter_rate", limiter.RATE_BINDS),
        "limiter_late_answers": lambda: limiter.run("limiter_late_answers", limiter.LATE_ANSWERS),
        "limiter_concurrency": lambda: limiter.run("limiter_concurrency", limiter.CONCURRENCY_BINDS),
        "guard": guard.run,
        "retention": lambda: retention.run(retention.Ends()),
        "throughput": throughput.run,
        "growth": lambda: growth.run(growth.Sizes()),
        "recovery": lambda: recovery.run(recovery.Crash()),
        "detection": lambda: latency.run(latency.DETECTION, name="detection"),
        "webhook_delay": lambda: latency.run(latency.WEBHOOK_DELAY, name="webhook_delay"),
        "polling": lambda: polling.run(polling.Load()),
        "copying": lambda: copying.run(copying.Load()),
        "ingress": lambda: ingress.run(ingress.Load()),
        "curve": lambda: curve.run(curve.Loads()),
        "peers": lambda: whole.run("peers", whole.SHORT),
        "peers_long": lambda: whole.run("peers_long", whole.LONG),
    }


def quick() -> dict[str, Measurement]:
    """Give every part on next to nothing, for the test suite; the figures mean nothing."""
    return {
        "latency": lambda: latency.run([_brief_latency()]),
        "callbacks": lambda: callbacks.run(
            latency.Case(5, 20.0, 0.5, 0.6, image_bytes=20_000, poll_min_s=0.1), rounds=1
        ),
        "memory": lambda: memory.run(
            [
                memory.Load(jobs=2, images=3, image_bytes=500_000, poll_min_s=0.1, base64=base64)
                for base64 in (False, True)
            ]
        ),
        "startup": lambda: startup.run(startup.Starts(stack=1, processes=0)),
        "fairness": lambda: fairness.run(
            "fairness",
            [
                replace(
                    fairness.CONCURRENCY_BINDS,
                    giant=50,
                    singles=2,
                    inference_min_s=0.3,
                    inference_max_s=0.3,
                    poll_min_s=0.1,
                )
            ],
        ),
        "scale": lambda: scale.run(scale.Depths(depths=(100, 200), tenants=5, calls=64, admit_at_once=16)),
        "reconcile": lambda: reconcile.run(reconcile.Losses(jobs=20, window_s=2)),
        "batches": lambda: batches.run(batches.Sizes(lines=(20, 700), rounds=1)),
        "saturation": lambda: saturation.run(
            saturation.Load(
                jobs=120,
                images_per_minute=60_000,
                max_concurrency=10,
                inference_min_s=0.3,
                inference_max_s=0.6,
                image_bytes=20_000,
                ramp_s=1.0,
                steady_s=2.0,
                poll_min_s=0.1,
            )
        ),
        "guard": guard.run,
        "retention": lambda: retention.run(retention.Ends(before=20, counted=50)),
        "throughput": lambda: throughput.run(
            tuple(replace(case, jobs=60, **_brief()) for case in throughput.LIFTED_CASES), rounds=1
        ),
        "growth": lambda: growth.run(growth.Sizes(jobs=((20, 1), (60, 1)), images_per_minute=60_000, **_brief())),
        "recovery": lambda: recovery.run(
            recovery.Crash(
                in_flight=20, jobs=300, inference_min_s=0.5, inference_max_s=1.0, image_bytes=2_000_000, poll_min_s=0.1
            )
        ),
        "detection": lambda: latency.run([_brief_latency()], name="detection"),
        "webhook_delay": lambda: latency.run([_brief_latency()], name="webhook_delay"),
        "polling": lambda: polling.run(
            polling.Load(at_once=(4,), predictions=100, seconds=0.3, warm_up_s=0.1, rounds=1)
        ),
        "copying": lambda: copying.run(
            copying.Load(((20_000, 4), (600_000, 4)), at_once=2, rounds=1, sides=copying.IN_PYTHON)
        ),
        "ingress": lambda: ingress.run(ingress.Load(at_once=4, seconds=0.3, warm_up_s=0.1, rounds=1)),
        "curve": lambda: curve.run(curve.Loads((3,), (3,), (2,), inference_min_s=0.1, inference_max_s=0.2)),
        "peers": lambda: whole.run("peers", whole.Case(0.1, 0.2, {"": 3}), rounds=1),
        "peers_long": lambda: whole.run("peers_long", whole.Case(0.3, 0.4, {"": 3}), rounds=1),
        **{
            name: _quick_limiter(name, case)
            for name, case in (
                ("limiter_rate", limiter.RATE_BINDS),
                ("limiter_late_answers", limiter.LATE_ANSWERS),
                ("limiter_concurrency", limiter.CONCURRENCY_BINDS),
            )
        },
    }


def killed(seed: int, *, quick: bool) -> dict[str, Measurement]:
    """Give what kills or floods, by a seed."""
    isolation, backlog = webhook_isolation.Load(), webhook_rate.Backlog()
    storm, errand = webhook_kills.Storm(seed), Errand(seed)
    if quick:
        isolation = replace(isolation, deliveries=20, rounds=1, inference_s=0.2, poll_min_s=0.1)
        backlog = replace(backlog, deliveries=100, receivers=2, rounds=1)
        storm = replace(storm, deliveries=60, rate=20.0, worker_kills=1, valkey_kills=1)
        errand = replace(errand, jobs=60, upload_s=0.3, max_concurrency=6)  # jobs must be left for the kills
    return {
        "webhook_isolation": lambda: webhook_isolation.run(isolation),
        "webhook_rate": lambda: webhook_rate.run(backlog),
        "webhook_kills": lambda: webhook_kills.run(storm),
        "cli_batch": lambda: cli_batch.run(errand),
    }


def _quick_limiter(name: str, case: limiter.Case) -> Measurement:
    return lambda: limiter.run(name, replace(case, seconds=4.0, warm_up_s=1.0, poll_min_s=0.2))


def _brief() -> dict[str, Any]:
    return {"inference_min_s": 0.1, "inference_max_s": 0.2, "poll_min_s": 0.1}


def _brief_latency() -> latency.Case:
    return latency.Case(5, 20.0, 0.1, 0.2, image_bytes=20_000, poll_min_s=0.1)
