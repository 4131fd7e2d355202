"""`python -m bench`: measures the rows that are asked for and reports them; a bar that is not met is no error.

Exit status 1 means that a row could not be measured at all.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from bench import machine, plot, report
from bench.contest import Bench
from bench.errors import BenchError
from bench.rows import ROWS
from bench.workspace import QUICK, Scale, Workspace, open_workspace

_REPOSITORY = Path(__file__).resolve().parent.parent
_RESULTS = Path(__file__).resolve().parent / "results"
_PAGE = _REPOSITORY / "docs" / "benchmarks.md"
_QUIET_LOAD = 0.7
_FAILURES = (
    BenchError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    subprocess.SubprocessError,
    http.client.HTTPException,
)


def main() -> int:
    """Measure, print, write."""
    arguments = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    scale = QUICK if arguments.quick else Scale()
    if arguments.runs:
        scale = replace(scale, runs=arguments.runs)
    date = datetime.now(UTC).date().isoformat()
    path = _RESULTS / f"{date}{'' if scale.full else '-quick'}.json"
    described = machine.describe()
    is_busy = os.getloadavg()[0] > _QUIET_LOAD
    if is_busy:
        print(f"WARNING: the machine is busy (load {os.getloadavg()[0]:.1f}); figures will be too low and uneven\n")
    try:
        with open_workspace(arguments.disk_dir) as workspace:
            rows, failures = _measure(arguments.rows, scale, workspace, described["Haul"].partition("commit ")[2])
    except KeyboardInterrupt:
        print("interrupted; everything that was started is stopped, nothing was written", file=sys.stderr)
        return 130
    document: dict[str, Any] = {
        "date": date,
        "runs": scale.runs,
        "scale": "full" if scale.full else "quick",
        "machine": described,
        "busy": is_busy,
        "rows": _merged(rows, _earlier() if scale.full else []),
        "failures": failures,
    }
    _write(document, path, page=scale.full and {row["key"] for row in document["rows"]} == set(ROWS))
    if not scale.full:
        print("quick workloads only show that all works: bars and goals are for the full sizes")
    return 1 if failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Haul beside curl, aria2c and nginx.")
    parser.add_argument(
        "--rows", type=_row_names, default=list(ROWS), help=f"comma-separated: {','.join(ROWS)} (default: all)"
    )
    parser.add_argument("--runs", type=int, default=0, help="how often each contender runs (default: 3, quick: 1)")
    parser.add_argument("--quick", action="store_true", help="small workloads, to see that all works")
    parser.add_argument(
        "--disk-dir", type=Path, default=_disk_directory(), help="where the disk row writes (default: %(default)s)"
    )
    return parser.parse_args()


def _row_names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in ROWS]:
        raise argparse.ArgumentTypeError(f"unknown rows: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return names


def _disk_directory() -> Path:
    """The temporary directory, or /var/tmp where that one is in memory."""
    temporary = Path(tempfile.gettempdir())
    return Path("/var/tmp") if machine.file_system_of(temporary) == "tmpfs" else temporary


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _measure(
    names: list[str], scale: Scale, workspace: Workspace, commit: str
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    rows: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    bench = Bench(scale, workspace, lambda text: print(text, flush=True))
    for name in names:
        print(f"== {name}", flush=True)
        start = time.perf_counter()
        try:
            result = ROWS[name](bench)
        except _FAILURES as error:
            failures[name] = f"{type(error).__name__}: {error}"
            print(f"  NOT MEASURED: {failures[name]}\n", flush=True)
            continue
        row = result.to_json() | {"measured": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit}
        rows.append(row)
        print("\n".join(report.terminal_lines(row)), f"({time.perf_counter() - start:.0f} s)\n", flush=True)
    return rows, failures


def _earlier() -> list[report.Row]:
    """The rows of the newest full-size run on this machine."""
    files = sorted(_RESULTS.glob("????-??-??.json"))
    return report.load_rows(files[-1]) if files else []


def _merged(rows: list[dict[str, Any]], earlier: list[report.Row]) -> list[report.Row]:
    """The new rows and those earlier ones that were not measured again, in the usual order."""
    by_key: dict[str, report.Row] = {row["key"]: row for row in earlier} | {row["key"]: row for row in rows}
    return [by_key[key] for key in ROWS if key in by_key]


def _write(document: dict[str, Any], path: Path, *, page: bool) -> None:
    if not document["rows"]:
        print("nothing was measured, nothing was written")
        return
    report.write_json(path, document)
    plot.draw(document["rows"], path.with_suffix(".png"))
    written = [path, path.with_suffix(".png")]
    if page:
        _PAGE.parent.mkdir(exist_ok=True)
        _PAGE.write_text(report.markdown(document), encoding="utf-8")
        written.append(_PAGE)
    print("written:", ", ".join(str(file.relative_to(_REPOSITORY)) for file in written))


if __name__ == "__main__":
    sys.exit(main())
