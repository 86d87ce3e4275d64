"""What is said once a batch is over: how many completed, why the others failed, what it cost, where the images are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from darkroom.cli.exits import ExitCode
from darkroom.cli.show import counted, plain, plural, size, usd

if TYPE_CHECKING:
    from darkroom.cli.downloads import Downloads

MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Ending:
    """A batch that is over (the API's own JSON), why its jobs failed, and what was fetched of it (None: nothing)."""

    batch: dict[str, Any]
    codes: dict[str, int]
    downloads: "Downloads | None" = None

    @property
    def exit_code(self) -> ExitCode:
        """Say by a code whether everything completed and is here."""
        if self.batch["counts"]["completed"] < self.batch["total"]:
            return ExitCode.NOT_COMPLETED
        return ExitCode.REFUSED if self.downloads is not None and self.downloads.failed else ExitCode.OK

    def document(self) -> dict[str, Any]:
        """Give it for scripts."""
        fetched = self.downloads and {
            "directory": str(self.downloads.directory),
            "images": self.downloads.images,
            "bytes": self.downloads.size_bytes,
            "failed": self.downloads.failed,
        }
        return {"batch": self.batch, "failed_by_code": self.codes, "downloads": fetched}

    def lines(self) -> list[str]:
        """Give it for people."""
        counts, cost, batch_id = self.batch["counts"], self.batch["cost"], self.batch["id"]
        ends = {name: counts[name] for name in ("completed", "failed", "canceled", "expired")}
        said = [f"{batch_id} {self.batch['status']}: {plural(self.batch['total'], 'job')}: {counted(ends)}"]
        said += [f"  {code}: {count:,}" for code, count in self.codes.items()]
        if self.batch["skipped"]:
            said += passed_over(self.batch["skipped"])
        said.append(f"{usd(cost['spent'])} spent, {plural(cost['images_delivered'], 'image')}")
        said += self._fetched()
        if ends["completed"] < self.batch["total"]:
            said.append(f"let the others go on: darkroom retry {batch_id}; then run the same command again")
        return said

    def _fetched(self) -> list[str]:
        if self.downloads is None:
            return [f"fetch the images: darkroom watch {self.batch['id']} --download DIR"]
        images, bytes_, failed = self.downloads.images, self.downloads.size_bytes, self.downloads.failed
        here = f"{plural(images, 'image')} in {self.downloads.directory} ({size(bytes_)})"
        if not failed:
            return [here]
        named = [f"  {job_id}: {plain(why)}" for job_id, why in list(failed.items())[:MOST_NAMED]]
        return [here, f"the images of {plural(len(failed), 'job')} could not be fetched; run the same again:", *named]


def passed_over(skipped: dict[str, Any]) -> list[str]:
    """Say which lines of a batch were not taken, the first few by name."""
    named = [f"  {_problem(problem)}" for problem in skipped["errors"][:MOST_NAMED]]
    return [f"{plural(skipped['lines'], 'bad line')} passed over", *named]


def _problem(problem: dict[str, Any]) -> str:
    return plain(f"{' '.join(str(part) for part in problem['loc'])}: {problem['msg']}")
