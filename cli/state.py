"""What `haul` remembers between runs: which cluster was started last; one small JSON file under XDG_STATE_HOME."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LastCluster:
    """The directory of the cluster that was started last and the URLs of its proxies."""

    directory: str
    endpoints: tuple[str, ...]


def state_file() -> Path:
    """Where it is remembered."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "haul" / "last-cluster"


def load() -> LastCluster | None:
    """The last cluster; None when there is none or the file cannot be understood."""
    try:
        fields = json.loads(state_file().read_text(encoding="utf-8"))
        return LastCluster(str(fields["directory"]), tuple(str(url) for url in fields["endpoints"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(last: LastCluster) -> None:
    """Remember it, in one step."""
    path = state_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"directory": last.directory, "endpoints": last.endpoints}) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file as a whole, readable by its owner only and durable."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
