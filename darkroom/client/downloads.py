"""How a job's outputs are fetched: a fresh signed address for each try, and no key to whoever it leads to."""

from pathlib import Path

from darkroom.client import calls
from darkroom.client.answers import Answer
from darkroom.client.errors import DownloadFailed, NotFinished
from darkroom.client.files import is_there, part_of, path_of
from darkroom.client.steps import Fetch, Outcome, Pause, Steps, backoff_s, request
from darkroom.jobs import Job, JobStatus, Output

GONE = (404, 410)


def download(wanted: Job | str, directory: Path, *, overwrite: bool, retries: int) -> Steps[list[Path]]:
    """Fetch what a job has yielded, in the order of the outputs; what is there already is not fetched again.

    Raises:
        NotFinished: it has not ended.
        DownloadFailed: an output can't be fetched whole.
    """
    job = wanted if isinstance(wanted, Job) else (yield from request(calls.read_one_job(wanted), retries))
    if isinstance(wanted, Job) and not job.outputs:  # read before it ended, or cut short by a webhook
        job = yield from request(calls.read_one_job(job.id), retries)
    if not job.status.terminal:
        raise NotFinished(f"{job.id} is {JobStatus(job.status)}; wait for it first")
    paths = []
    for output in job.outputs:
        path = path_of(job, output, directory)
        if overwrite or not is_there(path, output):
            yield from _fetch(job, output, path, retries)
        paths.append(path)
    return paths


def _fetch(job: Job, output: Output, path: Path, retries: int) -> Steps[None]:
    tries = 0
    while True:
        address = yield from request(calls.output_address(job.id, output.index), retries)
        with part_of(path, output) as part:
            outcome: Outcome = yield Fetch(address, part)
            try:
                _require_whole(outcome, path)
                part.finish()
                return
            except DownloadFailed as error:
                final = tries >= retries or (isinstance(outcome, Answer) and outcome.status in GONE)
                if final:
                    raise DownloadFailed(f"{job.id}: {error}") from None
        yield Pause(backoff_s(tries))
        tries += 1


def _require_whole(outcome: Outcome, path: Path) -> None:
    if not isinstance(outcome, Answer):
        raise DownloadFailed(f"{path.name}: {outcome}")
    if outcome.status != 200:
        raise DownloadFailed(f"{path.name}: the bucket answers HTTP {outcome.status}")
