"""Makes captures.json, the contract that test_captures.py checks, from the recorded exchanges of a running AIStore.

Run as `python tests/proxy/derive_captures.py FOLDER`. Requests to a proxy are taken, with the first answer to each; of
a JSON answer its shape is kept, and of an error the text. What targets were asked about themselves goes into
tests/ais/target_captures.json, which tests/ais/test_recorded_targets.py checks.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

FILES = (
    "health",
    "daemon",
    "cluster",
    "buckets",
    "objects",
    "download-start",
    "download-status",
    "download-running-and-list",
    "download-abort-remove",
    "download-errors",
    "download-limits-and-late-failures",
)
PROXY = "http://127.0.0.1:18100"
TARGET = "http://127.0.0.1:18101"
CUT = re.compile(r"\[\.\.\. cut|^… cut …$", re.MULTILINE)
LEFT_OUT = ("what=log", "/metrics", "/s3")
SECTION = re.compile(r"^## (\S+)\n\n```\n(.*?)\n```\n```\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def shape(value: Any) -> Any:
    """The types of a JSON value, keys kept; a list of objects has the keys of all its elements."""
    if isinstance(value, dict):
        return {key: shape(element) for key, element in value.items()}
    if isinstance(value, list) and value:
        shapes = [shape(element) for element in value]
        return [
            {key: kind for one in shapes for key, kind in one.items()} if isinstance(shapes[0], dict) else shapes[0]
        ]
    return [] if isinstance(value, list) else type(value).__name__


def exchange(name: str, sent: str, received: str, base: str = PROXY) -> dict[str, Any] | None:
    """One recorded exchange as an entry of the contract, None when it is not with `base` or not whole."""
    head, _, body = sent.partition("\n\n")
    method, url = head.split("\n")[0].split(" ", 1)
    if not url.startswith(base) or CUT.search(received) or any(part in url for part in LEFT_OUT):
        return None
    answer = received.split("\n\nHTTP/1.1", maxsplit=1)[0]
    answer_head, _, answer_body = answer.partition("\n\n")
    status_line, *header_lines = answer_head.split("\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in header_lines)}
    entry: dict[str, Any] = {
        "name": name,
        "method": method,
        "path": url.removeprefix(base),
        "body": body or None,
        "accept_status": int(status_line.split(" ")[1]),
        "headers": sorted(set(headers) - {"content-length", "date", "connection"}),
    }
    text = headers.get("hdr-error", answer_body)
    try:
        value = json.loads(text)
    except ValueError:
        entry["text"] = text
        return entry
    entry["shape"] = shape(value)
    if entry["accept_status"] >= 400:
        entry |= {"message": value["message"], "tcode": value.get("tcode", "")}
    elif isinstance(value, dict) and str(value.get("id", "")).startswith("dnl-"):
        entry["id"] = value["id"]
        if "finished_time" in value:
            entry["is_finished"] = value["finished_time"][:4] != "1970"
    return entry


def write(folder: Path, base: str, destination: Path) -> None:
    """One fixture: everything that was asked of `base`."""
    entries = []
    for name in FILES:
        for match in SECTION.finditer((folder / f"{name}.md").read_text(encoding="utf-8", errors="replace")):
            entry = exchange(*match.groups(), base)
            if entry is not None:
                entries.append(entry)
    entries.sort(key=lambda entry: str(entry["name"]))
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    destination.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main() -> None:
    """Write both fixtures."""
    here = Path(__file__)
    write(Path(sys.argv[1]), PROXY, here.with_name("captures.json"))
    write(Path(sys.argv[1]), TARGET, here.parents[1] / "ais" / "target_captures.json")


if __name__ == "__main__":
    main()
