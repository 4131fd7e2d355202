"""Runs contenders in turn, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.client import HaulClient, JobRun, range_job
from bench.cluster import running_cluster
from bench.errors import BenchError
from bench.origins import SAME_PREFIX
from bench.peers import Sample
from bench.results import Series
from bench.workspace import Scale, Workspace

_JOB_SECONDS = 600
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Bench:
    """What every row is given."""

    scale: Scale
    workspace: Workspace
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Contender:
    """A name and what takes one sample in a fresh directory."""

    name: str
    take: Callable[[Path], Sample]


@dataclass(frozen=True, slots=True)
class Outcome:
    """All samples of a contest by contender."""

    samples: dict[str, list[Sample]]

    def rates(self, unit: str, amount: float) -> dict[str, Series]:
        """The samples as `amount` per second."""
        return {
            name: Series(name, unit, tuple(amount / sample.seconds for sample in samples))
            for name, samples in self.samples.items()
        }

    @property
    def problems(self) -> tuple[str, ...]:
        found = (f"{name}: {text}" for name, samples in self.samples.items() for s in samples for text in s.problems)
        return tuple(dict.fromkeys(found))


def alternate(bench: Bench, contenders: Sequence[Contender], *, on_disk: bool = False) -> Outcome:
    """Every contender once per run, each in a fresh directory; another one begins every time."""
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for run in range(bench.scale.runs):
        shift = run % len(contenders)
        for contender in (*contenders[shift:], *contenders[:shift]):
            with bench.workspace.temporary("run", on_disk=on_disk) as directory:
                try:
                    sample = contender.take(directory)
                except BenchError as error:
                    raise BenchError(f"{contender.name}: {error}") from None
            bench.say(f"  run {run + 1}, {contender.name}: {sample.seconds:.3f} s")
            samples[contender.name].append(sample)
    return Outcome(samples)


def flat(
    fetch: Callable[[Sequence[str], Path, int], Sample], links: Sequence[str], parallel: int
) -> Callable[[Path], Sample]:
    """A peer that fetches all links into one new flat directory."""

    def take(directory: Path) -> Sample:
        flat_directory = directory / "objects"
        flat_directory.mkdir()
        return fetch(links, flat_directory, parallel)

    return take


def haul_range(template: str, count: int, warm_link: str, durability: str = "power-loss") -> Callable[[Path], Sample]:
    """`haul` with a range job."""
    return haul(range_job("bench", template), count, warm_link, durability)


def haul(job: dict[str, Any], count: int, warm_link: str, durability: str = "power-loss") -> Callable[[Path], Sample]:
    """Haul with one target of four mountpaths: a job from POST to its finished_time, on a new cluster."""

    def take(directory: Path) -> Sample:
        with (
            running_cluster(directory, durability=durability, warm_link=warm_link) as cluster,
            HaulClient(cluster.endpoint) as client,
        ):
            run = client.run_job(job, timeout_seconds=_JOB_SECONDS, poll_seconds=_POLL_SECONDS)
        return job_sample(run, count)

    return take


def job_sample(run: JobRun, expected: int) -> Sample:
    """A job's wall time from POST to finished_time; what the client saw instead, if that time cannot be right."""
    problems = run.problems(expected)
    if not 0 < run.seconds <= run.observed_seconds:
        problems.append(
            f"finished_time ({run.seconds:.3f} s) does not agree with the clock ({run.observed_seconds:.3f} s)"
        )
        return Sample(run.observed_seconds, tuple(problems))
    return Sample(run.seconds, tuple(problems))


def warm_link(origin_url: str) -> str:
    """A small object of an nginx origin whose root has a `same.bin`."""
    return f"{origin_url}/{SAME_PREFIX}/warm"


def speed_note(what: str, samples: Sequence[float], unit: str) -> str:
    """A note about a number without a bar."""
    return f"{what}: {median(samples):,.1f} {unit}"
