"""Each goal and which figures it is held against."""

from bench.goals import DARKROOM, Goal, Line, Results, at_least, at_most, listed, times

ASYNCIO = ("saq", "taskiq")
CPU = "CPU a thousand jobs"
ADDED = "RSS added a generation in flight"


def _saturation(results: Results) -> list[Line]:
    refused, most = (results.one("saturation", what) for what in ("refused with 429", "most images in any 60 s"))
    return [
        at_least(results.one("saturation", "submits, of"), 95, " % of 83.3 jobs a second"),
        Line("≤ 5,000 images in any 60 s, none refused", f"{most:,.0f}, {refused:.0f}", most <= 5_000 and not refused),
    ]


def _in_flight(results: Results) -> list[Line]:
    rss = results.one("curve", "… of the worker", "darkroom, 5,000 at once")
    reached = results.one("curve", "most in flight", "darkroom, 5,000 at once")
    lines = [
        Line(
            "5,000 with ≤ 150 MB RSS of the worker",
            f"{reached:,.0f} with {rss:,.0f} MB",
            reached >= 4_900 and rss <= 150,
        )
    ]
    added = _added(results)
    ours = added.pop(f"{DARKROOM}, 5,000")
    largest = {case.rpartition(", ")[0]: value for case, value in added.items() if not case.startswith(DARKROOM)}
    what = "fewer bytes added a generation than the best peer at its largest load"
    lines.append(times(min(largest.values()) / ours, 20, what, f"{ours:.1f} kB, {listed(largest, ' kB')}"))
    for result, case in (("peers", "5–10 s"), ("peers_long", "30–60 s")):
        ours, others = results.one(result, ADDED, DARKROOM), results.peers(result, ADDED)
        best = f"fewer bytes a generation than the best peer, {case}"
        lines.append(times(min(others.values()) / ours, 20, best, listed(others, " kB")))
    return lines


def _added(results: Results) -> dict[str, float]:
    """Give the kB that a generation in flight adds to a side's memory, by side and load, the loads rising."""
    peaks, before, flying = (results.all("curve", what) for what in ("RSS at its peak", "RSS before", "most in flight"))
    return {case.removesuffix(" at once"): (peaks[case] - before[case]) * 1000 / flying[case] for case in peaks}


def _cpu(results: Results) -> list[Line]:
    lines = []
    for result, case, factor in (("peers", "5–10 s", 5), ("peers_long", "30–60 s", 12)):
        ours, others = results.one(result, CPU, DARKROOM), results.peers(result, CPU)
        one = at_most(ours, 6, " s", listed(others, " s"))
        lines.append(Line(f"{one.goal} at {case}", one.measured, one.reached, one.beside))
        for peer in ("celery-sdk, threads", "celery-sdk, prefork", "celery-retry"):
            lines.append(times(others[peer] / ours, factor, f"below {peer}, {case}"))
        best = min(others[peer] for peer in ASYNCIO)
        lines.append(times(best / ours, 2, f"below the best asyncio peer, {case}"))
    full = at_most(results.one("saturation", "CPU of worker and api"), 6, " s")
    return [*lines, Line(f"{full.goal} with the account saturated, 30–60 s", full.measured, full.reached)]


def _throughput(results: Results) -> list[Line]:
    found = results.all("throughput", "jobs a second")
    busy = results.all("throughput", "the whole machine")
    lines = []
    for workers, least in (("1 worker,", 150), ("2 workers,", 270)):
        case = next(case for case in found if case.startswith(workers))
        one = at_least(found[case], least, " jobs/s")
        lines.append(
            Line(f"{one.goal}, {workers[:-1]}", f"{one.measured} (cores {busy[case]:.0f} % in use)", one.reached)
        )
    return lines


def _polling(results: Results) -> list[Line]:
    found = results.all("polling", "looks a CPU-second", "500 at once")
    ours, other = found["500 at once, darkroom"], found["500 at once, httpx"]
    known, all_of_them = (results.one("detection", what) for what in ("… mean, of the second half", "… mean"))
    return [
        times(ours / other, 15, "looks a CPU-second of httpx, 500 at once", f"{ours:,.0f}, httpx {other:,.0f}"),
        _looks(known, "once durations are known"),
        _looks(all_of_them, "from the first job of an empty store on"),
        at_most(results.one("detection", "completed → seen by a look, mean") / 1000, 2, " s until seen, mean"),
    ]


def _looks(mean: float, of: str) -> Line:
    one = at_most(mean, 6)
    return Line(f"{one.goal} looks a job at 30 s, {of}", one.measured, one.reached)


def _copying(results: Results) -> list[Line]:
    lines = []
    for size in ("0.1 MB", "16 MB"):
        found = {
            case.partition("at once, ")[2]: value
            for case, value in results.all("copying", "copied a CPU-second", f"of {size}").items()
        }
        ours = found.pop(DARKROOM)
        beside = f"{ours:,.0f}; {listed(found)}"
        lines.append(times(ours / found["httpx + upload_fileobj"], 4, f"httpx + upload_fileobj, {size}", beside))
        lines.append(times(ours / found["curl | curl"], 0.75, f"curl to curl, {size}"))
    return [*lines, at_most(_peak(results, base64=False), 150, " MB RSS, 32 × 16 MB at once")]


def _peak(results: Results, *, base64: bool) -> float:
    found = results.all("memory", "RSS of the worker at its peak")
    return next(value for case, value in found.items() if ("base64" in case) == base64)


def _webhooks(results: Results) -> list[Line]:
    return [
        at_most(results.one("webhook_delay", "seen → webhook received", stat="median"), 150, " ms, median"),
        at_most(results.one("webhook_delay", "seen → webhook received", stat="p99"), 1_000, " ms, p99"),
    ]


def _ingress(results: Results) -> list[Line]:
    rate = {case.partition(", ")[2]: value for case, value in results.all("ingress", "jobs accepted a second").items()}
    ours, other = rate[DARKROOM], rate["FastAPI + .delay()"]
    return [
        times(ours / other, 4, "the jobs a second of FastAPI + .delay()", f"{ours:,.0f}, FastAPI {other:,.0f}"),
        at_most(results.one("ingress", "POST → 202, p99", DARKROOM), 100, " ms, p99"),
        at_least(results.one("batches", "lines accepted a second", "50,000"), 10_000, " batch lines a second"),
    ]


def _waiting(results: Results) -> list[Line]:
    found = results.all("scale", "memory of a waiting job")
    return [
        Line("≤ 1,200 bytes, prompt of 200 included, flat to 1 M", listed(found, " B"), max(found.values()) <= 1_200),
    ]


def _recovery(results: Results) -> list[Line]:
    moving = {status: results.one("recovery", "restart →", status, "max") for status in ("generating", "storing")}
    beyond = {status: results.one("recovery", "… beyond", status, "max") for status in moving}
    worst = max(moving.values())
    return [
        Line("generating and storing all moving ≤ 15 s after the restart", listed(moving, " s"), worst <= 15),
        Line("… beyond the moment at which each was due", listed(beyond, " s"), max(beyond.values()) <= 15),
        at_most(results.one("recovery", "restart →", "submitting", "max"), 180, " s for cut submits"),
    ]


def _block(results: Results) -> list[Line]:
    found = results.all("batches", "… longest command", stat="max")
    return [at_most(max(found.values()), 50, " ms")]


def _growth(results: Results) -> list[Line]:
    found = results.all("growth", "CPU of worker and api a thousand jobs", "images a minute")
    values = list(found.values())
    middle = (max(values) + min(values)) / 2
    off = 100 * (max(values) / middle - 1)
    rates = list(results.all("throughput", "jobs a second").values())
    shown = listed({f"{case.partition(' jobs')[0]} jobs": value for case, value in found.items()}, " s")
    return [
        Line("CPU a job flat (± 10 %) from 1,000 to 100,000 jobs", f"± {off:.0f} %", off <= 10, shown),
        times(rates[1] / rates[0], 1.8, "one worker's jobs a second with two, where the cores are there"),
    ]


def _round_trips(results: Results) -> list[Line]:
    found = results.all("growth", "calls of Valkey a job")
    return [at_most(max(found.values()), 20, "", listed(found))]


def _terminal(results: Results) -> list[Line]:
    found = results.all("retention", "a completed job in Valkey", "compacted")
    return [at_most(max(found.values()), 600, " bytes", listed(found, " B"))]


def _base64(results: Results) -> list[Line]:
    return [at_most(_peak(results, base64=True), 250, " MB RSS")]


GOALS = (
    Goal("saturate Ultra with one worker", "saturation", _saturation),
    Goal("generations in flight per worker process", "curve, peers", _in_flight),
    Goal("CPU a thousand jobs, workers and api", "peers, saturation", _cpu),
    Goal("beyond one account", "throughput", _throughput),
    Goal("polling", "polling, detection", _polling),
    Goal("copying outputs, MB a CPU-second", "copying, memory", _copying),
    Goal("completion → webhook, beyond the look", "webhook_delay", _webhooks),
    Goal("ingress", "ingress, batches", _ingress),
    Goal("a waiting job in Valkey", "scale", _waiting),
    Goal("Redis round trips a job, polls included", "growth", _round_trips),
    Goal("worker killed with 2,000 in flight", "recovery", _recovery),
    Goal("a terminal job in Valkey", "retention", _terminal),
    Goal("base64, four jobs of 15 × 4096² at once", "memory", _base64),
    Goal("longest block of Valkey by a script", "batches", _block),
    Goal("growth", "growth, throughput", _growth),
)
