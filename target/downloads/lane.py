"""A mountpath's side in the target's process: orders what its carrier fetches, and takes in what that reports.

One thread, one carrier. What runs next is decided in `scheduler`, whether to try again in `retry`; fetching and storing
are the carrier's, keeping one alive `target.carriers.handle`'s.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog

from common import clock
from common.errors import HaulError
from target.carriers import messages
from target.carriers.handle import Handle
from target.carriers.messages import DISK, FAILED, OURS, Ended, Failure, Order, failure_of
from target.carriers.nursery import Nursery
from target.downloads.briefing import Briefing
from target.downloads.feeder import Feeder
from target.downloads.leases import Lease
from target.downloads.orders import Leaving, Orders
from target.downloads.recorder import Recorder
from target.downloads.scheduler import Scheduler
from target.downloads.settings import LaneSettings
from target.downloads.share import Share
from target.downloads.task import Result, Task
from target.storage.mountpath import Mountpath
from target.transfer.budget import Budget

_IDLE_SECONDS = 60.0
_HELD_SECONDS = 1.0
_SILENCE_SECONDS = 3.0
"""A carrier that fetches says something every half second; one that does not hangs, most likely on its disk."""
_OBEY_SECONDS = 5.0
"""To drop fetches takes no time; to commit what has come whole may take a slow disk longer, and is waited for."""
_ABANDON_SECONDS = 2.0
"""A thread that makes a directory on a disk that hangs is left behind."""
_log = structlog.get_logger("target.lane")


class Lane:
    """The thread of one mountpath; `start` first, `stop` last."""

    def __init__(
        self,
        number: int,
        mountpath: Mountpath,
        nursery: Nursery,
        scheduler: Scheduler,
        recorder: Recorder,
        settings: LaneSettings,
    ) -> None:
        self._number = number
        self._mountpath = mountpath
        self._handle = Handle(nursery)
        self._scheduler = scheduler
        self._recorder = recorder
        self._settings = settings
        self._feeder: Feeder
        self._wake_lanes: Callable[[set[int]], None]
        self._random = random.Random()  # noqa: S311 - jitter needs no cryptography
        self._briefing = Briefing(self._handle)
        self._orders = Orders()
        self._heard_at = 0.0
        self._trouble = ""
        self._denied: Sequence[tuple[str, int]] = ()
        self._requests: deque[Callable[[], object]] = deque()
        self._leaving: list[Leaving] = []
        self._stopping = self._is_abandoned = False
        self._thread = threading.Thread(target=self._run, name=f"lane-{number}", daemon=True)

    def __repr__(self) -> str:
        return f"<Lane {self._number}: {self._orders}>"

    def start(self, feeder: Feeder, wake_lanes: Callable[[set[int]], None]) -> None:
        """Start the thread; `wake_lanes` is given numbers of other lanes."""
        self._feeder = feeder
        self._wake_lanes = wake_lanes
        self._thread.start()

    def stop(self, *, at_once: bool = False) -> None:
        """Let the carrier drop what it fetches (those tasks stay to be done), take its last report, end the thread.

        `at_once`, for a disk that has failed: nothing is waited for long, and nothing is taken in any more.
        """
        self._is_abandoned = at_once
        self._stopping = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join(_ABANDON_SECONDS if at_once else None)

    def leave(self) -> list[Task]:
        """After `stop`, on the thread that calls `cancel`: what it had ordered and not heard the end of."""
        tasks = [*self._orders.fetching.values(), *self._orders.committing.values()]
        for task in self._orders.fetching.values():
            self._scheduler.dropped(task)
        self._orders = Orders()
        self._do_requests()
        for leaving in self._leaving:
            leaving.done()
        return tasks

    def wake(self) -> None:
        """There may be something to do; any thread."""
        self._handle.wake()

    def cancel(self, share: Share, done: Callable[[], object]) -> None:
        """Have the share's running fetches dropped, and call `done` on the lane's thread when nothing of it is left.

        What has been received whole is still committed. A carrier that does not obey is killed. Any thread.
        """
        if self._thread.is_alive():
            self._requests.append(lambda: self._cancel(share, done))
            self.wake()
        else:
            done()

    def forget(self, share: Share) -> None:
        """The share has ended: what its failed tasks have left half-fetched goes; any thread."""
        if self._thread.is_alive():
            self._requests.append(lambda: self._briefing.forget(share))
            self.wake()

    def retell(self, share: Share) -> None:
        """The share's terms have changed: tell the carrier before its next order; any thread."""
        if self._thread.is_alive():
            self._requests.append(lambda: self._briefing.outdate(share))

    def deny_endpoints(self, endpoints: Iterable[tuple[str, int]]) -> None:
        """Tell the carrier, and those after it, what is never an origin; any thread."""
        denied = sorted(endpoints)
        self._requests.append(lambda: self._deny(denied))
        self.wake()

    @property
    def orders(self) -> Orders:
        """What is ordered now, and has not ended; to be read by any thread."""
        return self._orders

    def _run(self) -> None:
        try:
            while not self._stopping:
                if self._handle.start(self._settings.greeting(self._mountpath)):
                    self._handle.send(messages.DENY, self._denied)
                self._do_requests()
                may_order = self._handle.is_alive and self._settings.may_work()
                if may_order:
                    self._order()
                self._handle.flush()
                self._handle.wait(self._wait_seconds(may_order))
                self._take_in(self._handle.receive())
                self._notice_silence()
                if self._leaving:
                    self._let_leave()
            if self._is_abandoned:
                self._handle.kill()
            self._take_in(self._handle.farewell())
        except Exception:
            _log.exception("lane.died", lane=self._number)
            raise
        finally:
            self._handle.close()

    def _wait_seconds(self, may_order: bool) -> float:
        """What is due is no reason to look again while nothing may be begun."""
        due = self._scheduler.next_due(self._number, clock.monotonic()) if may_order else _HELD_SECONDS
        waits_for_carrier = self._orders.fetching or self._leaving
        return min(_IDLE_SECONDS if due is None else due, _SILENCE_SECONDS if waits_for_carrier else _IDLE_SECONDS)

    def _notice_silence(self) -> None:
        """A carrier that hangs must not keep the others from the hosts that it is connected to."""
        if clock.monotonic() >= self._heard_at + _SILENCE_SECONDS and self._orders.fetching:
            lanes = self._scheduler.write_off(self._orders.fetching.values(), self._number, clock.monotonic())
            if lanes:
                _log.warning("lane.carrier_silent", lane=self._number, fetching=len(self._orders.fetching))
                self._wake_lanes(lanes)

    def _do_requests(self) -> None:
        while self._requests:
            self._requests.popleft()()

    def _order(self) -> None:
        """Take tasks as far as there is room, and send them."""
        room = self._settings.room(self._orders)
        tasks, lanes = self._scheduler.take(self._number, room, clock.monotonic())
        if lanes:
            self._wake_lanes(lanes)
        if not tasks:
            return
        if not self._orders.fetching:
            self._heard_at = clock.monotonic()
        orders, shares = [], {task.share for task in tasks}
        refusals, errands = {share: self._refusal(share) for share in shares}, self._settings.errands.batch()
        now_ns = clock.unix_ns()
        for task in tasks:
            task.start_ns = task.start_ns or now_ns
            if task.refusal:
                self._recorder.record([Result(task, FAILED, 0, 0, now_ns, task.refusal_text)])
                continue
            task.attempt += 1
            task.attempts += 1
            order_id = self._orders.add(task)
            order = refusals[task.share] or errands.begin(order_id, task)
            if isinstance(order, Order):
                orders.append(order)
            elif isinstance(order, Ended):
                self._reported([order_id], [order], [])
            else:
                self._failed(order._replace(id=order_id))
                self.wake()
        if orders:
            self._handle.send(messages.FETCH, orders)
        for share in shares:
            self._feeder.nudge(share)

    def _refusal(self, share: Share) -> Failure | None:
        """Make the bucket's directory and tell the carrier the job's terms, or say why the job's tasks must fail."""
        spec = share.spec
        try:
            self._settings.check_open(spec.bucket)
            self._mountpath.bucket_for_writing(spec.bucket, spec.bucket_id)
        except HaulError as error:
            return failure_of(0, error)
        self._briefing.tell(share)
        return None

    def _take_in(self, received: Iterable[tuple[Any, ...]]) -> None:
        if self._is_abandoned:
            return
        was_alive = self._handle.is_alive
        for kind, *content in received:
            self._take_in_one(kind, content)
            self._heard_at = clock.monotonic()
        if was_alive and not self._handle.is_alive and not self._stopping:
            self._carrier_died()

    def _take_in_one(self, kind: int, content: Sequence[Any]) -> None:
        match kind:
            case messages.REPORT:
                self._reported(*content)
            case messages.MOVED:
                self._scheduler.moved(self._orders.progressed(content[0]), clock.monotonic(), is_long=True)
            case messages.SPENT:
                self._grant(*content)
            case messages.CANCELLED:
                self._cancelled(content[0])
            case messages.BORROW:
                self._lend(*content)
            case messages.HOLD:
                self._settings.told_to_wait(*content)
            case messages.UNUSABLE:
                self._trouble = content[0]

    def _reported(
        self,
        released: Sequence[int],
        ended: Sequence[tuple[int, int, int, int, int]],
        failed: Sequence[tuple[Any, ...]],
    ) -> None:
        committing, now = self._orders.committing, clock.monotonic()
        if released:
            self._scheduler.answered(self._orders.received(released), now)
        if ended:
            end_ns = clock.unix_ns()
            results = [
                (Result(committing.pop(order_id), outcome, downloaded, total, end_ns), gained)
                for order_id, outcome, downloaded, total, gained in ended
            ]
            self._recorder.record([result for result, _ in results])
            gains = self._orders.gained((result.task, gained) for result, gained in results)
            self._scheduler.moved(gains, now, is_long=False)
        for fields in failed:
            self._failed(Failure(*fields))

    def _failed(self, failure: Failure) -> None:
        task = self._orders.fetching.pop(failure.id, None)
        if task is None:
            task = self._orders.committing.pop(failure.id)
        else:
            self._scheduler.failed(task, clock.monotonic(), failure)
        if failure.fault == DISK:
            self._settings.disk_failed(self._number)
        if failure.got_further:
            task.attempt, failure = 1, self._settings.errands.renewable(task, failure)
        delay = self._settings.retry.delay(task.attempt, failure, self._random.random())
        if delay is not None:
            self._wake_lanes({self._scheduler.retry(task, clock.monotonic(), delay)} - {self._number})
        else:
            self._recorder.record([Result(task, FAILED, 0, 0, clock.unix_ns(), failure.text)])

    def _grant(self, limited: int | str, _spent_bytes: int, wanted_bytes: int) -> None:
        if isinstance(limited, str):
            budget: Budget | Lease | None = self._settings.host_leases[limited]
        else:
            budget = self._briefing.budget(limited)
        if budget is not None and (granted := budget.take(wanted_bytes)):
            self._handle.send(messages.GRANT, limited, granted)

    def _lend(self, order_id: int, wanted: int) -> None:
        task = self._orders.fetching.get(order_id)
        if task is not None:
            self._handle.send(messages.LEND, order_id, self._scheduler.lend(task, wanted, clock.monotonic()))

    def _deny(self, endpoints: Sequence[tuple[str, int]]) -> None:
        self._denied = endpoints
        self._handle.send(messages.DENY, endpoints)

    def _cancel(self, share: Share, done: Callable[[], object]) -> None:
        if not self._handle.is_alive or share not in self._briefing:
            done()
            return
        self._leaving.append(Leaving(share, done, clock.monotonic() + _OBEY_SECONDS))
        self._handle.send(messages.CANCEL, share.number)

    def _cancelled(self, number: int) -> None:
        for order_id in self._orders.fetching_of(number):
            self._scheduler.dropped(self._orders.fetching.pop(order_id))
        for leaving in self._leaving:
            if leaving.share.number == number:
                leaving.obeys_by = float("inf")

    def _let_leave(self) -> None:
        """Tell who waits for shares of which nothing is left; a carrier that does not even drop them is killed."""
        if self._handle.is_alive and clock.monotonic() >= min(leaving.obeys_by for leaving in self._leaving):
            _log.error("lane.carrier_disobeys", lane=self._number)
            self._handle.kill()
            self._carrier_died()
        for leaving in [leaving for leaving in self._leaving if not self._orders.has(leaving.share)]:
            self._leaving.remove(leaving)
            leaving.done()

    def _carrier_died(self) -> None:
        """What had not been reported is done again by the next carrier."""
        fault = DISK if self._trouble else OURS
        trouble, self._trouble = self._trouble or "the process that was fetching it has died", ""
        _log.error("lane.carrier_died", lane=self._number, lost=len(list(self._orders)), error=trouble)
        for number in {leaving.share.number for leaving in self._leaving}:
            self._cancelled(number)
        self._briefing.lost()
        self._orders.lost()
        for order_id in self._orders:
            self._failed(Failure(order_id, trouble, may_pass=True, fault=fault))
