"""What AIStore's clients may ask a cluster or a node to do, and Haul does by other means; pure.

Source: wire.md §4.7. What is done by request is left to `proxy.api.members` and `target.api.mountpaths`.
"""

from __future__ import annotations

import json
from typing import NoReturn

from common.errors import InvalidRequest, Unsupported
from common.names import printable

_FILES = "a node's settings are in its file (docs/configuration.md): change them there and restart it"
_BACKENDS = "other clusters are those of the section [clusters] of the nodes' backends_file (docs/sources.md)"
_MEMBERS = "nodes join by themselves when they are started, and leave when they are stopped"
ELSEWHERE = {
    "set-config": _FILES,
    "reset-config": _FILES,
    "rotate-logs": "nodes write their log to standard error, and whatever runs them keeps and rotates it",
    "reset-stats": "counters begin anew when a node starts; take the difference of two readings instead",
    "shutdown": "stop the nodes where they run: 'haul cluster down', docker compose, systemd or Kubernetes",
    "shutdown-node": "stop the node where it runs; put it into maintenance before, if it is a target",
    "attach": _BACKENDS,
    "detach": _BACKENDS,
    "attach-remote": _BACKENDS,
    "detach-remote": _BACKENDS,
    "reload-backend-creds": "credentials are read when a node starts: restart it",
    "admin-join-target": _MEMBERS,
    "admin-join-proxy": _MEMBERS,
    "set-primary": "proxies choose a leader among themselves, and any of them answers everything",
    "proxy": "proxies choose a leader among themselves, and any of them answers everything",
    "loadX509": "nodes read their files when they start: restart the node",
}
"""Why not, by action or by the path's last part that stands for it."""


def explain(action: str) -> None:
    """Raise Unsupported, with what to do instead, for an action that is done elsewhere."""
    if action in ELSEWHERE:
        raise Unsupported(f"'{action}' is not done by request here: {ELSEWHERE[action]}")


def refuse(path: str, body: bytes) -> NoReturn:
    """Refuse a change of a node: `path` is what follows after `/v1/daemon/`, or the body names the action."""
    action = path.partition("/")[0] or _action_of(body)
    explain(action)
    raise InvalidRequest(f"invalid action '{printable(action, 40)}' for a node")


def _action_of(body: bytes) -> str:
    try:
        message = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return ""
    return str(message.get("action", "")) if isinstance(message, dict) else ""
