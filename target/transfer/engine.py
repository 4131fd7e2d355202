"""The transfer engine of a lane: many fetches at once over one libcurl multi handle.

What to fetch next, how many at a time and whether to try again is left to `target.downloads`; the parts are
`reactor` (sockets), `transfer` (one handle), `deadlines`, `redirects`, `egress` and `outcomes` (the rules).
"""

from __future__ import annotations

from pathlib import Path

import certifi
import pycurl

from common.clock import monotonic
from common.errors import HaulError
from target.transfer.deadlines import overdue
from target.transfer.egress import EgressGuard
from target.transfer.reactor import Reactor
from target.transfer.request import Completion, FetchError, FetchRequest, Receipt, SinkFactory, TransferSettings
from target.transfer.transfer import Transfer

_SYSTEM_CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class Engine:
    """A `TransferEngine`, to be used by one thread; only `wake` may be called from others."""

    def __init__(self, settings: TransferSettings, guard: EgressGuard) -> None:
        self._settings = settings
        self._unshared: set[str] = set()
        self._guard = guard
        self._ca_file = settings.ca_file or trusted_certificates()
        self._reactor = Reactor(settings.max_connections_kept)
        self._by_token: dict[object, Transfer] = {}
        self._by_curl: dict[pycurl.Curl, Transfer] = {}
        self._spare: list[Transfer] = []
        self._paused: list[Transfer] = []
        self._completions: list[Completion] = []
        self._next_sweep_at = 0.0

    @property
    def active(self) -> int:
        return len(self._by_token)

    def start(self, token: object, request: FetchRequest, sink: SinkFactory) -> None:
        transfer = self._spare.pop() if self._spare else self._new_transfer()
        try:
            transfer.prepare(token, request, sink)
        except FetchError as error:
            self._release(transfer)
            self._completions.append(Completion(token, error))
            return
        self._by_token[token] = transfer
        self._reactor.add(transfer.curl)

    def flush(self) -> None:
        self._reactor.flush()
        self._conclude_finished()  # a near origin has answered by now, and no event will come for that

    def wait(self, timeout_seconds: float) -> None:
        if self._completions:
            timeout_seconds = 0.0
        elif self._by_token:
            timeout_seconds = min(timeout_seconds, max(0.0, self._next_sweep_at - monotonic()))
        if self._paused:
            timeout_seconds = min(timeout_seconds, self._resume())
        self._reactor.wait(timeout_seconds)

    def collect(self) -> list[Completion]:
        self._reactor.turn()
        self._conclude_finished()
        now = monotonic()
        if now >= self._next_sweep_at:
            self._next_sweep_at = now + self._settings.sweep_interval_seconds
            self._sweep(now)
        completions, self._completions = self._completions, []
        return completions

    def poll(self, timeout_seconds: float) -> list[Completion]:
        self.wait(timeout_seconds)
        return self.collect()

    def cancel(self, token: object) -> None:
        transfer = self._by_token.get(token)
        if transfer:
            self._reactor.remove(transfer.curl)
            self._release(transfer)
        else:
            self._completions = [completion for completion in self._completions if completion.token != token]

    def progress(self, token: object) -> tuple[int, int]:
        transfer = self._by_token.get(token)
        return (transfer.progress.received_bytes, transfer.expected_bytes()) if transfer else (0, 0)

    def watch(self, fd: int) -> None:
        self._reactor.watch(fd)

    def heard(self) -> bool:
        return self._reactor.heard()

    def wake(self) -> None:
        self._reactor.wake()

    def close(self) -> None:
        for transfer in self._by_token.values():
            self._reactor.remove(transfer.curl)
        self._reactor.close()
        for transfer in self._by_curl.values():
            transfer.curl.close()
        self._by_token.clear()
        self._by_curl.clear()
        self._spare.clear()
        self._paused.clear()

    def _new_transfer(self) -> Transfer:
        transfer = Transfer(self._settings, self._guard, self._ca_file, self._unshared, self._paused.append)
        self._by_curl[transfer.curl] = transfer
        return transfer

    def _conclude_finished(self) -> None:
        for curl, code, message in self._reactor.finished():
            self._conclude(self._by_curl[curl], code, message)

    def _conclude(self, transfer: Transfer, code: int, message: str) -> None:
        self._reactor.remove(transfer.curl)
        result = transfer.conclude(code, message)
        if result is None:
            self._reactor.add(transfer.curl)
        else:
            self._finish(transfer, result)

    def _finish(self, transfer: Transfer, result: Receipt | HaulError) -> None:
        self._completions.append(Completion(transfer.token, result))
        self._release(transfer)

    def _release(self, transfer: Transfer) -> None:
        self._by_token.pop(transfer.token, None)
        if transfer in self._paused:
            self._paused.remove(transfer)
        transfer.release()
        self._spare.append(transfer)

    def _resume(self) -> float:
        """Let paused fetches read again in turn while their budgets allow; returns how long the rest must wait."""
        waiting, longest = list(self._paused), self._settings.sweep_interval_seconds
        self._paused.clear()
        still_paused: list[Transfer] = []
        for transfer in waiting:
            assert transfer.request.budget
            delay = transfer.request.budget.delay()
            if delay > 0:
                transfer.progress.throttled = True
                still_paused.append(transfer)
                longest = min(longest, delay)
            else:
                transfer.curl.pause(pycurl.PAUSE_CONT)
        self._paused[:0] = still_paused
        return longest

    def _sweep(self, now: float) -> None:
        for transfer in list(self._by_token.values()):
            progress = transfer.progress
            if not progress.head_complete:
                transfer.update_head()
            error = overdue(
                self._settings, transfer.request, progress, now, transfer.sent_at(), transfer.expected_bytes()
            )
            if error:
                self._reactor.remove(transfer.curl)
                self._finish(transfer, error)


def trusted_certificates() -> str:
    """The system's bundle of trusted certificates, or certifi's where there is none."""
    return next((path for path in _SYSTEM_CA_FILES if Path(path).is_file()), None) or certifi.where()
