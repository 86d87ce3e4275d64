"""Whether a job costs more in a crowd: the CPU of a thousand jobs alone, and among many more."""

from dataclasses import asdict, dataclass

from bench.figures import Figure, Outcome, figure
from bench.throughput import Case, Sample, Seen, raw_of, run_case

SLICES = 10
PACE = 6_000
"""Images a minute of the account: the same for every number of jobs, and within what a small machine does."""

IMAGE_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many jobs, and how often so many are run."""

    jobs: tuple[tuple[int, int], ...] = ((1_000, 3), (10_000, 1), (100_000, 1))
    images_per_minute: int = PACE
    inference_min_s: float = 5.0
    inference_max_s: float = 10.0
    poll_min_s: float = 2.0

    def case(self, jobs: int) -> Case:
        """Give the case of so many."""
        return Case(
            jobs,
            images_per_minute=self.images_per_minute,
            inference_min_s=self.inference_min_s,
            inference_max_s=self.inference_max_s,
            image_bytes=IMAGE_BYTES,
            poll_min_s=self.poll_min_s,
        )


def run(sizes: Sizes) -> Outcome:
    """Run the sizes one after another, each on a fresh fleet with one worker."""
    figures: list[Figure] = []
    seen: list[Seen] = []
    for jobs, times in sizes.jobs:
        mine = [run_case(sizes.case(jobs), number) for number in range(1, times + 1)]
        label = f"{jobs:,} jobs, {sizes.images_per_minute:,} images a minute"
        figures += [
            figure(label, "CPU of worker and api a thousand jobs", "s", *(round(one.cpu_s(), 3) for one in mine)),
            figure(label, "CPU of Valkey a thousand jobs", "s", *(round(one.valkey_cpu_s(), 3) for one in mine)),
            figure(label, "calls of Valkey a job", "", *(round(one.calls_a_job(), 2) for one in mine)),
            figure(label, "jobs a second", "", *(round(one.rate, 1) for one in mine)),
        ]
        seen += mine
    figures += _slices(seen[-1])
    return Outcome("growth", asdict(sizes), figures, raw_of(seen))


def _slices(seen: Seen) -> list[Figure]:
    """Give what each tenth of the jobs of one run cost, by the webhooks sent meanwhile."""
    jobs = seen.case.jobs
    figures = []
    for number in range(SLICES):
        first, last = (_at(seen.samples, (number + add) * jobs / SLICES) for add in (0, 1))
        told = last.told - first.told
        what = f"CPU of worker and api a thousand jobs, tenth {number + 1} of {SLICES}"
        cost = 1000 * (last.service_cpu_s - first.service_cpu_s) / max(1, told)
        figures.append(figure(f"within {jobs:,} jobs", what, "s", round(cost, 3)))
    return figures


def _at(samples: list[Sample], told: float) -> Sample:
    """Give the first sample by which so many jobs had been told of."""
    return next(sample for sample in samples if sample.told >= told)
