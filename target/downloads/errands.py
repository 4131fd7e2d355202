"""What a task asks for: an order for the carrier, with the request that a source's link stands for, or a removal.

Which task is next, and what follows from a failure, is left to `lane`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.backends.sources import Sources
from common.errors import HaulError
from common.links import is_source, redact
from common.names import Bucket
from common.placement import digest
from target.carriers.messages import HOST, REMOVED, Ended, Failure, Order, failure_of
from target.downloads.share import Share
from target.downloads.task import Task

Remove = Callable[[Bucket, int, str, int, int], None]
"""Removes the object of (bucket, bucket id, name) if it has this link digest and time of storing; raises DiskError."""


class Errands:
    """Any thread; may take as long as a service takes to give a token."""

    def __init__(self, sources: Sources, remove: Remove) -> None:
        self._sources = sources
        self._remove = remove

    def batch(self) -> Batch:
        """For tasks that are begun one right after the other."""
        return Batch(self)

    def begin(self, order_id: int, task: Task) -> Order | Ended | Failure:
        """The order for a task, why there can be none, or that it is done already."""
        try:
            if task.removes_ns:
                spec = task.share.spec
                self._remove(spec.bucket, spec.bucket_id, task.name, digest(task.link), task.removes_ns)
                return Ended(order_id, REMOVED, 0, 0)
            if task.share.trouble:
                return Failure(order_id, f'failed to download "{redact(task.link)}": {task.share.trouble}', False)
            request = self._request(task) if is_source(task.link) else None
        except HaulError as error:
            return failure_of(order_id, error)
        return Order(order_id, task.share.number, task.name, task.link, task.expected, request)

    def renewable(self, task: Task, failure: Failure) -> Failure:
        """A failure after something has come: the signature of a source's request may have run out on the way."""
        return failure._replace(may_pass=True) if is_source(task.link) else failure

    def _request(self, task: Task) -> tuple[str, Sequence[str]]:
        request = self._sources.request(task.link, task.share.credentials)
        return request.url, [f"{name}: {value}" for name, value in request.headers]


class Batch:
    """Some errands of one thread, which does nothing else meanwhile.

    So a service that does not answer is waited for once, and not for each of its objects.
    """

    def __init__(self, errands: Errands) -> None:
        self._errands = errands
        self._unavailable: dict[tuple[Share, str], Failure] = {}

    def begin(self, order_id: int, task: Task) -> Order | Ended | Failure:
        """As `Errands.begin`."""
        service = task.share, task.origin
        begun = self._unavailable.get(service) or self._errands.begin(order_id, task)
        if isinstance(begun, Failure) and begun.fault == HOST:
            self._unavailable[service] = begun
        return begun
