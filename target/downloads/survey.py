"""What a job would do, without doing it: what is there already, and how much the origins say is to come.

Nothing is written, here or in the journal; origins are asked for heads only, and only for a sample of many objects.
Adding up what the targets found is left to the proxy.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from common.backends.sources import Sources, parse_source
from common.clock import monotonic
from common.errors import HaulError
from common.links import is_source
from common.names import Bucket
from common.placement import digest
from common.shares import JobSpec, TaskSpec
from common.vault import Vault
from target.downloads.expansion import Expansion
from target.downloads.tasklist import CHUNK_NAMES
from target.storage.metadata import ObjectMetadata
from target.transfer.egress import EgressGuard
from target.transfer.engine import Engine
from target.transfer.request import FetchRequest, ResponseHead, Sink, TransferSettings

_LOOK_SECONDS = 4.0
_ASK_SECONDS = 6.0
_SERVICES_AT_ONCE = 16
_AT_ONCE = 32
_SHOWN_ERRORS = 20

Head = Callable[[Bucket, str], ObjectMetadata]
"""The metadata of a stored object; raises ObjectNotFound, DiskError."""


@dataclass(slots=True)
class Found:
    """Figures of one target's part, as they go to the proxy; bytes are those still to come.

    `checked` objects were looked for here; `unknown` ones are to come and have a size that nobody has told yet, `asked`
    of them were asked for.
    """

    checked: int = 0
    present: int = 0
    present_bytes: int = 0
    known: int = 0
    known_bytes: int = 0
    unknown: int = 0
    asked: int = 0
    told: int = 0
    told_bytes: int = 0
    errors: int = 0
    shown_errors: list[tuple[str, str]] = field(default_factory=list)

    def to_wire(self) -> dict[str, Any]:
        """Plain values for msgpack."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class Surveyor:
    """Surveys parts of jobs; `survey` is for threads, one at a time each."""

    def __init__(
        self,
        target_id: str,
        head: Head,
        guard: EgressGuard,
        settings: TransferSettings,
        sources: Sources,
        vault: Vault,
    ) -> None:
        self._target_id = target_id
        self._head = head
        self._guard = guard
        self._settings = settings
        self._sources = sources
        self._vault = vault

    def survey(self, spec: JobSpec, tasks: Sequence[TaskSpec], ask: int) -> Found:
        """Look at `tasks`, or at this target's part of the template; it takes some seconds at most.

        Of at most `ask` objects the origins are asked; of more, random ones.
        """
        found, sample = Found(), list[TaskSpec]()
        chance = random.Random(spec.id)  # noqa: S311 - a sample, and the same one when it is asked for again
        deadline = monotonic() + _LOOK_SECONDS
        for piece in self._pieces(spec) if spec.template else iter([tasks]):
            for task in piece:
                if self._look(spec, task, found):
                    found.unknown += 1
                    if len(sample) < ask:
                        sample.append(task)
                    elif (place := chance.randrange(found.unknown)) < ask:
                        sample[place] = task
            if monotonic() >= deadline:
                break
        self._ask(spec, sample, found)
        return found

    def _pieces(self, spec: JobSpec) -> Iterator[Sequence[TaskSpec]]:
        expansion = Expansion(spec, self._target_id)
        for begin in range(0, expansion.count, CHUNK_NAMES):
            yield expansion.own_tasks(begin, min(begin + CHUNK_NAMES, expansion.count))

    def _look(self, spec: JobSpec, task: TaskSpec, found: Found) -> bool:
        """Count a task; True when only its origin can tell its size."""
        found.checked += 1
        try:
            stored = self._head(spec.bucket, task.name)
        except HaulError:
            stored = None
        if stored is not None and _is_present(task, stored):
            found.present += 1
            found.present_bytes += stored.size
            return False
        size_bytes = task.expected[0] if task.expected is not None else None
        if size_bytes is not None:
            found.known += 1
            found.known_bytes += size_bytes
        return size_bytes is None

    def _ask(self, spec: JobSpec, sample: Sequence[TaskSpec], found: Found) -> None:
        secrets: Mapping[str, Any] = (
            self._vault.open(spec.sealed) if spec.sealed else {"headers": spec.headers, "credentials": {}}
        )
        deadline = monotonic() + _ASK_SECONDS
        self._ask_services([task for task in sample if is_source(task.link)], secrets["credentials"], found, deadline)
        headers = tuple(f"{name}: {value}" for name, value in secrets["headers"])
        self._ask_servers([task for task in sample if not is_source(task.link)], headers, found, deadline)

    def _ask_services(
        self, sample: Sequence[TaskSpec], credentials: Mapping[str, str], found: Found, deadline: float
    ) -> None:
        def look(task: TaskSpec) -> int | HaulError | None:
            if monotonic() >= deadline:
                return None
            try:
                bucket, name = parse_source(task.link)
                return self._sources.backend(bucket, credentials).head(name).size_bytes
            except HaulError as error:
                return error

        with ThreadPoolExecutor(_SERVICES_AT_ONCE) as threads:
            for task, answer in zip(sample, threads.map(look, sample), strict=True):
                if answer is not None:
                    _count_answer(found, task, answer)

    def _ask_servers(self, sample: Sequence[TaskSpec], headers: tuple[str, ...], found: Found, deadline: float) -> None:
        if not sample:
            return
        engine, begun = Engine(self._settings, self._guard), found.asked
        left = iter(enumerate(sample))
        try:
            while monotonic() < deadline:
                for number, task in left:
                    engine.start(number, FetchRequest(task.link, headers, head_only=True), _refuse)
                    if engine.active >= _AT_ONCE:
                        break
                for completion in engine.poll(0.05):
                    assert isinstance(completion.token, int)
                    result = completion.result
                    told = result if isinstance(result, HaulError) else result.head.content_length
                    _count_answer(found, sample[completion.token], told)
                if found.asked - begun == len(sample):
                    return
        finally:
            engine.close()


def _is_present(task: TaskSpec, stored: ObjectMetadata) -> bool:
    """Whether what is stored is what a task wants, as far as can be told without asking."""
    is_from_there = stored.link_digest == digest(task.link)
    if task.expected is None:
        return is_from_there
    size_bytes, digests, *more = task.expected
    if size_bytes not in (None, stored.size):
        return False
    etag = more[0] if more else ""
    if is_from_there and etag and stored.etag:
        return stored.etag == etag
    return stored.has_digests(dict(digests)) or (
        is_from_there and all(stored.digests.get(algorithm, value) == value for algorithm, value in digests)
    )


def _count_answer(found: Found, task: TaskSpec, result: int | HaulError | None) -> None:
    found.asked += 1
    if isinstance(result, HaulError):
        found.errors += 1
        if len(found.shown_errors) < _SHOWN_ERRORS:
            found.shown_errors.append((task.name, result.message))
    elif result is not None:
        found.told += 1
        found.told_bytes += result


def _refuse(head: ResponseHead) -> Sink:
    raise AssertionError("a head has no body")
