"""One target's share of a copy: walks over what lies here of the source and has every object sent to its owner.

A walk counts only if the placement was settled, and the same, all the time: then everything lies with its owner, and
nothing can have moved behind its back. What becomes of the whole is decided by the proxies (`proxy.actions`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

from common import clock
from common.clustermap import ClusterMap
from common.copying import CopyFigures, CopyOrder
from common.errors import BucketNotFound, HaulError, InvalidName, NoSpace, ObjectNotFound, PeerError
from common.lifecycle import TaskScope
from common.names import printable
from common.nodeclient import RemoteError
from target.actions.sender import CopySender
from target.actions.walk import missing_error, next_page, pages
from target.membership import Membership
from target.rebalance.messages import STORED
from target.rebalance.receiver import OtherPlacement
from target.storage.listing import ListEntry
from target.storage.store import Store

_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0
_log = structlog.get_logger("target.actions")


class _Ends(HaulError):
    """The share cannot go on."""


class CopyShare:
    """What this target does of one copy; `begin` it as often as somebody asks for it."""

    def __init__(
        self,
        order: CopyOrder,
        store: Store,
        membership: Membership,
        sender: CopySender,
        await_still: Callable[[CopyOrder], Awaitable[str]],
        scope: TaskScope,
    ) -> None:
        """`await_still` waits until a move may walk, and tells why that cannot be said yet."""
        self.order = order
        self.figures = CopyFigures(started_ns=clock.unix_ns())
        self._store = store
        self._membership = membership
        self._sender = sender
        self._await_still = await_still
        self._scope = scope
        self._task: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._must_repeat = False

    def __repr__(self) -> str:
        return f"<CopyShare {self.order.id} {self.figures}>"

    @property
    def is_running(self) -> bool:
        """Whether something of it is still to do here, as far as this target knows."""
        return self._task is not None and not self._task.done()

    def begin(self, order: CopyOrder) -> None:
        """Walk, unless that is being done, or has been done in the order's round by the present placement."""
        if self._is_stopped or self.is_running or self.figures.error:
            return
        figures, version = self.figures, self._membership.cluster_map.placement_version
        if (figures.through_round, figures.through_version) == (order.round, version):
            return
        self.order = order
        figures.is_running, figures.ended_ns = True, 0
        self._task = self._scope.start(f"copy {order.id}", self._run(order))

    async def stop(self) -> None:
        """End it here for good; what has been copied stays."""
        self._is_stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.figures.is_running = False
        self.figures.ended_ns = self.figures.ended_ns or clock.unix_ns()

    async def _run(self, order: CopyOrder) -> None:
        pause_seconds = _PAUSE_SECONDS
        try:
            while not await self._pass(order):
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
        except HaulError as error:
            self.figures.error = error.message
            _log.warning("copy.ended", id=order.id, error=error.message)
        except Exception as error:  # noqa: BLE001 - the job must end, and say so
            self.figures.error = f"internal error ({type(error).__name__})"
            _log.exception("copy.ended", id=order.id)
        finally:
            self.figures.is_running = False
            self.figures.ended_ns = clock.unix_ns()

    async def _pass(self, order: CopyOrder) -> bool:
        """One walk; whether it counts. Raises HaulError when the share cannot go on."""
        cluster_map, figures = self._membership.cluster_map, self.figures
        if not cluster_map.is_settled or not cluster_map.candidates:
            figures.waiting = "objects are moving to other targets"
            return False
        if order.is_move and (why := await self._await_still(order)):
            figures.waiting = why
            return False
        figures.waiting, figures.copied_in_round, figures.errors = "", 0, 0
        if order.dry_run:
            figures.objects = figures.copied_bytes = 0
        self._must_repeat = False
        await self._walk(order, cluster_map)
        if self._must_repeat or self._membership.cluster_map.placement_version != cluster_map.placement_version:
            return False
        if not self._membership.cluster_map.is_settled:
            return False
        if order.is_closing and await self._await_still(order):
            return False
        figures.waiting = ""
        figures.through_closed = order.is_closing
        figures.through_round, figures.through_version = order.round, cluster_map.placement_version
        return True

    async def _walk(self, order: CopyOrder, cluster_map: ClusterMap) -> None:
        walk = pages(self._store, order, cluster_map, self._membership.node.id)
        room = asyncio.Semaphore(order.workers)
        while (page := await asyncio.to_thread(next_page, walk)) is not None:
            entries, missing = page
            for name in missing:
                self._failed(order, missing_error(order, name))
            if order.dry_run:
                self.figures.objects += len(entries)
                self.figures.copied_bytes += sum(entry.size for entry in entries)
                continue
            wanted = await self._missing(order, entries)
            self.figures.kept += len(entries) - len(wanted)
            await self._copy_all(order, wanted, room)
            if self._membership.cluster_map.placement_version != cluster_map.placement_version or self._must_repeat:
                return

    async def _missing(self, order: CopyOrder, entries: Sequence[ListEntry]) -> list[str]:
        try:
            return await self._sender.missing(order, entries)
        except (RemoteError, PeerError) as error:
            await self._repeat(error.message)
            return []

    async def _copy_all(self, order: CopyOrder, names: Sequence[str], room: asyncio.Semaphore) -> None:
        async def copy(name: str) -> None:
            async with room:
                if not self._must_repeat:
                    await self._copy(order, name)

        try:
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(copy(name))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _copy(self, order: CopyOrder, name: str) -> None:
        figures = self.figures
        try:
            outcome, size, is_others = await self._sender.send(order, name)
        except (ObjectNotFound, InvalidName) as error:
            if isinstance(error, InvalidName) or error.code != ObjectNotFound.code:
                self._failed(order, error)
            return  # else it has been deleted since it was listed
        except (BucketNotFound, NoSpace) as error:
            raise _Ends(error.message) from None
        except OtherPlacement:
            await self._repeat("")
            return
        except RemoteError as error:
            await self._refused(order, error)
            return
        except PeerError as error:
            await self._repeat(error.message)
            return
        except HaulError as error:
            self._failed(order, error)
            return
        if outcome != STORED:
            figures.kept += 1
            return
        figures.objects += 1
        figures.copied_bytes += size
        figures.copied_in_round += 1
        if is_others:
            figures.out_objects += 1
            figures.out_bytes += size

    async def _refused(self, order: CopyOrder, error: RemoteError) -> None:
        """What the owner has answered in place of taking the copy."""
        if error.code in (BucketNotFound.code, NoSpace.code):
            raise _Ends(error.message)
        if error.code == OtherPlacement.code or error.status == PeerError.status:
            await self._repeat("" if error.code == OtherPlacement.code else error.message)
        else:
            self._failed(order, error)

    async def _repeat(self, why: str) -> None:
        """This walk does not count: somebody could not be reached, or has another cluster map."""
        self._must_repeat = True
        self.figures.waiting = why
        if not why:
            with contextlib.suppress(HaulError):
                await self._membership.refresh()

    def _failed(self, order: CopyOrder, error: HaulError) -> None:
        """An object cannot be copied: the end of the share, unless that is to go on. Raises _Ends."""
        self.figures.errors += 1
        if not order.keeps_going:
            raise _Ends(error.message)
        if self.figures.errors == 1:
            _log.warning("copy.failed", id=order.id, error=printable(error.message))
