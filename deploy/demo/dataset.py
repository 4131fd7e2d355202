"""The demo's sample data: a few hundred small files, some with awkward names, one large file; the same every time.

Serving them is left to `webserver`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

SMALL_FILES = 300
LARGE_FILE = "large/model.bin"
_LARGE_BYTES = 64 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
NOTES = (
    "readme.txt",
    "été 2026.txt",
    "100 percent.txt",
    "it's a quote.txt",
    "日本語.txt",
    "UPPER.txt",
    "upper.txt",
    "deep/er/and/deeper.txt",
)


def generate(directory: Path) -> None:
    """Write the files, unless they are there already."""
    done = directory / ".complete"
    if done.exists():
        return
    generator = random.Random(20260101)  # noqa: S311 - sample data, the same every time
    for number in range(SMALL_FILES):
        _write(directory / small_file(number), generator.randbytes(generator.randrange(2_000, 30_000)))
    for name in NOTES:
        _write(directory / "notes" / name, generator.randbytes(50_000))
    large = directory / LARGE_FILE
    large.parent.mkdir(parents=True, exist_ok=True)
    with large.open("wb") as file:
        for _ in range(_LARGE_BYTES // _BLOCK_BYTES):
            file.write(generator.randbytes(_BLOCK_BYTES))
    done.touch()


def write_list(path: Path) -> None:
    """The object list of the multi job: names relative to the web server's notes."""
    path.write_text(json.dumps(NOTES, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def small_file(number: int) -> str:
    """The name of a small file."""
    return f"small/obj-{number:03}.bin"


def object_names() -> dict[str, str]:
    """Where every file lands in the demo's bucket: object name → file, both relative."""
    names = {small_file(number): small_file(number) for number in range(SMALL_FILES)}
    names |= {f"notes/{name}": f"notes/{name}" for name in NOTES}
    return names | {"model.bin": LARGE_FILE}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
