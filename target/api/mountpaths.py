"""Mountpaths in AIStore's dialect: the operations, the list, and a resilvering as one of its jobs (wire.md §4.2, §5.2).

What an operation does is left to `target.disks`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from common.errors import InvalidRequest
from common.names import printable
from target.disks import Disks, Run
from target.storage.registry import LEAVING, State

CHANGING = ("PUT", "POST", "DELETE")
"""Which of them goes with which action is not looked at: AIStore's own clients differ."""
MAX_BODY_BYTES = 64 * 1024
_ACTIONS = ("attach-mp", "detach-mp", "enable-mp", "disable-mp", "rescan-mp", "fshc-mp")
_NEVER = "0001-01-01T00:00:00Z"
_NO_BUCKET = {"name": "", "provider": "", "namespace": {"uuid": "", "name": ""}}


async def change(disks: Disks, body: bytes, query: Mapping[str, str]) -> None:
    """Carry out one operation; raises InvalidRequest, DiskError.

    With `dntres` the objects stay where they are, out of reach, when a path is detached or disabled.
    """
    action, path = _parse(body)
    moves_objects = query.get("dntres", "") not in ("true", "1", "yes", "on", "t", "y")
    match action:
        case "attach-mp":
            await disks.attach(path)
        case "enable-mp":
            await disks.enable(path)
        case "disable-mp":
            await disks.disable(path, moves_objects=moves_objects)
        case "detach-mp":
            await disks.detach(path, moves_objects=moves_objects)
        case "fshc-mp":
            disks.check(path)
        case "rescan-mp":
            await disks.resilver()


def listed(states: Mapping[str, State]) -> dict[str, list[str]]:
    """AIStore's MountpathList (wire.md §4.4): what is being emptied is not available any more."""
    return {
        "available": sorted(path for path, state in states.items() if state is State.ENABLED),
        "waiting_dd": sorted(path for path, state in states.items() if state in LEAVING),
        "disabled": sorted(path for path, state in states.items() if state in (State.DISABLED, State.FAULTED)),
    }


def snaps(run: Run | None) -> list[dict[str, Any]]:
    """The last resilvering as AIStore's Snap; none when there was none since the start."""
    if run is None:
        return []
    figures = run.figures
    stats = {"loc-objs": str(figures.moved), "loc-bytes": str(figures.moved_bytes)}
    others = dict.fromkeys(("out-objs", "out-bytes", "in-objs", "in-bytes"), "0")
    return [
        {
            "ext": None,
            "start-time": _time(run.started_ns),
            "end-time": _time(run.ended_ns),
            "bck": _NO_BUCKET,
            "src-bck": _NO_BUCKET,
            "dst-bck": _NO_BUCKET,
            "id": run.id,
            "kind": "resilver",
            "abort-err": "",
            "err": figures.error,
            "glob.id": "0",
            "stats": stats | others,
            "aborted": False,
            "is_idle": False,
        }
    ]


def _parse(body: bytes) -> tuple[str, str]:
    try:
        message = json.loads(body)
        fields = {str(key).lower(): value for key, value in message.items()}
    except (ValueError, AttributeError, RecursionError):
        raise InvalidRequest("the request's body is no JSON object") from None
    action, path = fields.get("action"), fields.get("value")
    if action not in _ACTIONS:
        raise InvalidRequest(f'unknown action "{printable(str(action))}": one of {", ".join(_ACTIONS)}')
    if not isinstance(path, str) or not path:
        raise InvalidRequest('"value" must be the path of a mountpath')
    return str(action), path.rstrip("/") or "/"


def _time(unix_ns: int) -> str:
    if not unix_ns:
        return _NEVER
    return datetime.fromtimestamp(unix_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{unix_ns % 10**9:09}Z"
