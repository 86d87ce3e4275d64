"""Throughput and memory against load: each side with ever more generations in flight at once."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product

from bench.figures import BenchError, Figure, Outcome, figure, percentile
from bench.memory import MB
from bench.peers.sides import DARKROOM, RETRY, SAQ, SDK_PREFORK, SDK_THREADS, TASKIQ, Peer
from bench.peers.whole import Case, Seen, raw_of, run_side


@dataclass(frozen=True, slots=True)
class Loads:
    """How many generations are in flight at once, for each side; a pool of processes takes no more than a few."""

    darkroom: tuple[int, ...] = (50, 200, 1_000, 5_000)
    peers: tuple[int, ...] = (50, 200, 800)
    prefork: tuple[int, ...] = (8,)
    inference_min_s: float = 15.0
    inference_max_s: float = 20.0
    rounds: int = 1

    def each(self) -> Iterator[tuple[Peer | None, int]]:
        """Give every side with every load of its own."""
        yield from ((None, load) for load in self.darkroom)
        yield from (
            (replace(peer, at_once=load), load) for peer, load in product((SDK_THREADS, RETRY, SAQ, TASKIQ), self.peers)
        )
        yield from ((replace(SDK_PREFORK, at_once=load), load) for load in self.prefork)


def run(loads: Loads) -> Outcome:
    """Give each side as many jobs as it is to have in flight, all at once."""
    seen: list[tuple[int, Seen]] = []
    for number in range(1, loads.rounds + 1):
        for side, load in loads.each():
            case = Case(loads.inference_min_s, loads.inference_max_s, {"": load})
            one = run_side(case, number, side)
            if one.side == DARKROOM and (one.lost or one.paid_twice):
                raise BenchError(f"Darkroom lost jobs or paid for them twice: {raw_of(one)}")
            seen.append((load, one))
    raw = [{"load": load} | raw_of(one) for load, one in seen]
    return Outcome("curve", asdict(loads), _figures(seen), raw)


def _figures(seen: list[tuple[int, Seen]]) -> list[Figure]:
    figures = []
    for side, load in dict.fromkeys((one.side, load) for load, one in seen):
        mine = [one for at, one in seen if (one.side, at) == (side, load)]
        case = f"{side}, {load:,} at once"
        figures += [
            figure(case, "jobs a second", "", *(round(one.jobs / one.seconds, 2) for one in mine)),
            figure(case, "RSS at its peak", "MB", *(round(one.peak_rss_bytes / MB, 1) for one in mine)),
            figure(case, "… of the worker", "MB", *(round(one.worker_peak_rss_bytes / MB, 1) for one in mine)),
            figure(case, "RSS before", "MB", *(round(one.idle_rss_bytes / MB, 1) for one in mine)),
            figure(case, "CPU a thousand jobs", "s", *(round(1000 * one.cpu_s / one.jobs, 2) for one in mine)),
            figure(case, "completed → webhook, median", "ms", *(percentile(sorted(one.delays_ms), 50) for one in mine)),
            figure(case, "completed → webhook, p99", "ms", *(percentile(sorted(one.delays_ms), 99) for one in mine)),
            figure(case, "most in flight", "", *(one.most_in_flight for one in mine)),
            figure(case, "lost", "", *(one.lost for one in mine)),
        ]
    return figures
