"""Which task a lane starts next: fair between jobs, under each job's and each host's limit; pure but for one lock.

Every lane has its own queues, so a slow or full mountpath delays only its own tasks. Inside a lane the jobs take turns,
longer ones with a higher priority, and inside a job its hosts, so neither a large job nor a slow host holds the others
up. The time is an argument. Filling the queues is left to `feeder`, carrying tasks out to `lane`.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from common import placement
from target.carriers.messages import Failure
from target.downloads.hosts import Host, HostSettings, Tell, silent
from target.downloads.share import Room, Share
from target.downloads.task import Task

MAX_HOSTS = 4096
"""Above it, what is known of hosts that nothing is fetched from is forgotten."""


class _ShareQueue:
    """The tasks of one share in one lane, by origin; origins take turns."""

    __slots__ = ("by_origin", "credit", "share", "turns")

    def __init__(self, share: Share) -> None:
        self.share = share
        self.credit = 0.0
        self.by_origin: dict[str, deque[Task]] = {}
        self.turns: deque[str] = deque()

    def push(self, task: Task) -> None:
        queue = self.by_origin.get(task.origin)
        if queue is None:
            queue = self.by_origin[task.origin] = deque()
            self.turns.append(task.origin)
        queue.append(task)

    def pop(self, origin: str) -> Task:
        queue = self.by_origin[origin]
        task = queue.popleft()
        if not queue:
            del self.by_origin[origin]
            self.turns.remove(origin)
        else:
            self.turns.rotate(-1)
        return task


class Scheduler:
    """Queues of all lanes; every method may be called from any thread.

    A lane that was refused for a limit waits in the `starved` set of the job or host that refused it. Whoever gives a
    connection back takes from its own queues first, and only then wakes those, if there still is room: when a host is
    busy, lanes do not wake each other for nothing.
    """

    def __init__(self, lanes: int, host_settings: HostSettings, tell: Tell = silent) -> None:
        self._lock = threading.Lock()
        self._host_settings = host_settings
        self._tell = tell
        self._hosts: dict[str, Host] = {}
        self._blocked: set[str] = set()
        self._queues: list[dict[str, _ShareQueue]] = [{} for _ in range(lanes)]
        self._turns: list[deque[str]] = [deque() for _ in range(lanes)]
        self._delayed: list[list[tuple[float, int, Task]]] = [[] for _ in range(lanes)]
        self._freed: list[set[Host | Room]] = [set() for _ in range(lanes)]
        self._order = count()
        self._usable: Mapping[int, int] = {}
        self.retries = 0
        """How many tasks were queued again since the start."""
        self.received_bytes = 0
        """How much has come from all origins since the start."""

    @property
    def active_connections(self) -> int:
        """How many connections tasks hold, of all origins together."""
        with self._lock:
            return sum(host.active for host in self._hosts.values())

    @property
    def known_hosts(self) -> int:
        """How many origins something is known of; at most MAX_HOSTS and the busy ones."""
        return len(self._hosts)

    def limits(self, origins: Iterable[str]) -> dict[str, int]:
        """How many connections each of these origins may have now."""
        with self._lock:
            return {origin: self._host(origin).limit for origin in origins}

    def offer(self, tasks: Iterable[Task]) -> set[int]:
        """Queue new tasks, each in its lane; returns the lanes that have something to do now."""
        lanes = set()
        with self._lock:
            for task in tasks:
                if task.share.is_stopped:
                    continue
                self._place(task)
                self._push(task)
                self._count(task, 1)
                lanes.add(task.lane)
        return lanes

    def use(self, digests: Mapping[int, int]) -> set[int]:
        """From now on tasks belong to these lanes, by the digests of their mountpaths; returns those to wake.

        What waits is placed anew. With no lane at all it stays where it is, until there is one again.
        """
        with self._lock:
            self._usable = dict(digests)
            while len(self._queues) <= max(digests, default=-1):
                self._queues.append({})
                self._turns.append(deque())
                self._delayed.append([])
                self._freed.append(set())
            if digests:
                self._place_all_anew()
        return set(digests)

    def _place_all_anew(self) -> None:
        waiting = [
            task
            for queues in self._queues
            for queue in queues.values()
            for tasks in queue.by_origin.values()
            for task in tasks
        ]
        delayed = [entry for entries in self._delayed for entry in entries]
        for task in (*waiting, *(task for _, _, task in delayed)):
            self._count(task, -1)
            self._place(task, anew=True)
            self._count(task, 1)
        for queues, turns, entries in zip(self._queues, self._turns, self._delayed, strict=True):
            queues.clear()
            turns.clear()
            entries.clear()
        for task in waiting:
            self._push(task)
        for entry in delayed:
            heapq.heappush(self._delayed[entry[2].lane], entry)

    def _place(self, task: Task, *, anew: bool = False) -> None:
        """Give a task to the lane that it belongs to; only if its own is not used any more, unless `anew`."""
        if not self._usable or (task.lane in self._usable and not anew):
            return
        digest = placement.digest(task.share.spec.bucket.uname + task.name)
        lane = list(self._usable)[placement.choose(digest, list(self._usable.values()))]
        if lane != task.lane:
            task.lane, task.attempt = lane, 0

    def _count(self, task: Task, change: int) -> None:
        queued = task.share.queued
        while len(queued) <= task.lane:
            queued.append(0)
        queued[task.lane] += change

    def take(self, lane: int, limit: int, now: float) -> tuple[list[Task], set[int]]:
        """Up to `limit` tasks for a lane to start now, and the other lanes worth waking.

        Every task holds a connection until it is given back; one with a `refusal` has none, and is to fail.
        """
        taken: list[Task] = []
        with self._lock:
            self._wake_delayed(lane, now)
            turns, queues = self._turns[lane], self._queues[lane]
            refused: set[str] = set()
            while len(refused) < len(turns) and len(taken) < limit:
                queue = queues[turns[0]]
                if queue.credit < 1.0:
                    queue.credit += queue.share.weight
                task = self._take_from(queue, lane, now) if queue.credit >= 1.0 else None
                if task is not None:
                    taken.append(task)
                    refused.clear()
                    queue.credit -= 1.0
                    if not queue.turns:
                        del queues[turns.popleft()]
                    elif queue.credit < 1.0:
                        turns.rotate(-1)
                    continue
                if queue.credit >= 1.0:
                    refused.add(turns[0])
                turns.rotate(-1)
            return taken, self._lanes_to_wake(lane, now)

    def answered(self, tasks: Sequence[Task], now: float) -> None:
        """Give back the connections of tasks whose origin has answered well; `take` must follow."""
        with self._lock:
            ended: dict[Host, list[float]] = {}
            for task in tasks:
                ended.setdefault(self._give_back(task), []).append(task.taken_at)
            for host, taken_at in ended.items():
                host.answered(now, max(taken_at), len(taken_at))

    def failed(self, task: Task, now: float, failure: Failure) -> None:
        """Give back the connection of a task that has failed; `take` must follow."""
        with self._lock:
            host = self._give_back(task)
            host.failed(now, task.taken_at, failure)
            if host.opens_at(now) is not None:
                self._blocked.add(task.origin)

    def hold(self, origin: str, now: float, seconds: float) -> None:
        """Begin nothing from an origin for so long; it has asked for that, here or elsewhere."""
        with self._lock:
            self._host(origin).hold(now, seconds)
            self._blocked.add(origin)

    def dropped(self, task: Task) -> None:
        """Give back the connection of a task that was cancelled, or lost by us; `take` must follow."""
        with self._lock:
            self._give_back(task).dropped(task.taken_at)

    def moved(self, sizes: Mapping[str, int], now: float, *, is_long: bool) -> None:
        """So many bytes have come from each origin; `is_long`: of transfers that are still running."""
        with self._lock:
            for origin, size_bytes in sizes.items():
                self.received_bytes += size_bytes
                self._host(origin).moved(now, size_bytes, is_long=is_long)

    def lend(self, task: Task, wanted: int, now: float) -> int:
        """Let a running task have up to so many connections more, until it is released; returns how many."""
        with self._lock:
            host, room, lent = self._hosts[task.origin], task.share.room, 0
            while lent < wanted and room.has_room and host.lend(now):
                room.active += 1
                lent += 1
            task.connections += lent
        return lent

    def write_off(self, tasks: Iterable[Task], lane: int, now: float) -> set[int]:
        """Nothing is heard of these tasks any more: do not let them keep others from their hosts. Lanes to wake."""
        with self._lock:
            for task in tasks:
                if task.connections and not task.is_written_off:
                    task.is_written_off = True
                    host = self._host(task.origin)
                    host.active -= task.connections
                    host.dropped(task.taken_at)
                    self._freed[lane].add(host)
            return self._lanes_to_wake(lane, now)

    def _give_back(self, task: Task) -> Host:
        host, connections = self._host(task.origin), task.connections
        if not task.is_written_off:
            host.active -= connections
        task.share.room.active -= connections
        task.connections, task.is_written_off = 0, False
        freed = self._freed[task.lane]
        freed.add(host)
        freed.add(task.share.room)
        return host

    def retry(self, task: Task, now: float, delay_seconds: float) -> int:
        """Queue a released task again, after the delay and when its origin may be asked for second attempts.

        Returns the lane that it waits in.
        """
        task.moved_bytes = 0
        with self._lock:
            if not task.share.is_stopped:
                self.retries += 1
                due = now + max(delay_seconds, self._host(task.origin).retry_wait_seconds(now))
                self._place(task)
                self._count(task, 1)
                heapq.heappush(self._delayed[task.lane], (due, next(self._order), task))
            return task.lane

    def next_due(self, lane: int, now: float) -> float | None:
        """Seconds until something changes for a lane by the mere passing of time; None when nothing will."""
        with self._lock:
            dues = [self._delayed[lane][0][0]] if self._delayed[lane] else []
            if self._blocked:
                opens = {origin: self._hosts[origin].opens_at(now) for origin in self._blocked}
                self._blocked = {origin for origin, at in opens.items() if at is not None}
                dues += (at for at in opens.values() if at is not None)
        return max(0.0, min(dues) - now) if dues else None

    def withdraw(self, share: Share) -> int:
        """Forget all queued tasks of a share; returns how many there were."""
        with self._lock:
            for lane, queues in enumerate(self._queues):
                if queues.pop(share.id, None) is not None:
                    self._turns[lane].remove(share.id)
                delayed = self._delayed[lane]
                if any(entry[2].share is share for entry in delayed):
                    delayed[:] = [entry for entry in delayed if entry[2].share is not share]
                    heapq.heapify(delayed)
            withdrawn, share.queued = sum(share.queued), [0] * len(self._queues)
        return withdrawn

    def _push(self, task: Task) -> None:
        queues = self._queues[task.lane]
        queue = queues.get(task.share.id)
        if queue is None:
            queue = queues[task.share.id] = _ShareQueue(task.share)
            self._turns[task.lane].append(task.share.id)
        queue.push(task)

    def _wake_delayed(self, lane: int, now: float) -> None:
        delayed = self._delayed[lane]
        while delayed and delayed[0][0] <= now:
            self._push(heapq.heappop(delayed)[2])

    def _take_from(self, queue: _ShareQueue, lane: int, now: float) -> Task | None:
        share = queue.share
        if not share.room.has_room:
            share.room.starved.add(lane)
            return None
        for _ in range(len(queue.turns)):
            origin = queue.turns[0]
            host = self._host(origin)
            if host.has_room(now):
                host.began(now, is_limited=share.budget is not None)
                share.room.active += 1
                share.queued[lane] -= 1
                task = queue.pop(origin)
                task.connections, task.taken_at = 1, now
                return task
            refusal = host.gives_up(now, share.fed_at)
            if refusal is not None:
                share.queued[lane] -= 1
                task = queue.pop(origin)
                task.refusal = refusal
                return task
            host.refused(lane)
            queue.turns.rotate(-1)
        return None

    def _host(self, origin: str) -> Host:
        host = self._hosts.get(origin)
        if host is None:
            if len(self._hosts) >= MAX_HOSTS:
                self._hosts = {name: one for name, one in self._hosts.items() if one.is_busy or name in self._blocked}
            host = self._hosts[origin] = Host(origin, self._host_settings, self._tell)
        return host

    def _lanes_to_wake(self, lane: int, now: float) -> set[int]:
        lanes: set[int] = set()
        for freed in self._freed[lane]:
            if freed.starved and (freed.wants_lanes(now) if isinstance(freed, Host) else freed.has_room):
                lanes |= freed.starved
                freed.starved.clear()
        self._freed[lane].clear()
        lanes.discard(lane)
        return lanes
