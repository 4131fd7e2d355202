"""Which shares a carrier knows the terms of: told before their first order, again when they change, then forgotten."""

from __future__ import annotations

from target.carriers import messages
from target.carriers.handle import Handle
from target.downloads.leases import Lease
from target.downloads.share import Share
from target.transfer.budget import Budget


class Briefing:
    """What the carrier of one handle has been told; one thread but for `outdated`."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._told: dict[int, Share] = {}
        self._outdated: set[int] = set()

    def __contains__(self, share: Share) -> bool:
        return share.number in self._told

    def budget(self, number: int) -> Budget | Lease | None:
        """The budget of the share of this number, if its terms are known and it has one."""
        share = self._told.get(number)
        return share.budget if share is not None else None

    def tell(self, share: Share) -> None:
        """Tell the terms, unless they are known."""
        if share.number not in self._told or share.number in self._outdated:
            self._told[share.number] = share
            self._outdated.discard(share.number)
            self._handle.send(messages.TERMS, share.terms())

    def outdate(self, share: Share) -> None:
        """The terms have changed since they were told."""
        self._outdated.add(share.number)

    def forget(self, share: Share) -> None:
        """The share has ended."""
        if self._told.pop(share.number, None) is not None:
            self._handle.send(messages.FORGET, share.number)

    def lost(self) -> None:
        """The carrier has died: objects of these shares may be stored without being recorded, and nothing is known."""
        for share in self._told.values():
            share.has_history = True
        self._told.clear()
