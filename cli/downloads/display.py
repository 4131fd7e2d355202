"""Draws a job's progress: bars on a terminal, a line now and then everywhere else.

Measuring is left to `cli.downloads.progress`, asking the cluster to `cli.downloads.watch`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli import formats
from cli.downloads.progress import SlowTask, View
from cli.formats import Units

_BAR_CELLS = 36
_NAME_CELLS = 48


class Display(Protocol):
    """Shows views while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, view: View) -> None:
        """Bring the picture up to date."""

    def trouble(self, message: str) -> None:
        """Say that there is nothing new, and why."""


class Bars:
    """A picture that is redrawn in place."""

    def __init__(self, console: Console, units: Units) -> None:
        self._units = units
        self._live = Live(console=console, auto_refresh=False)
        self._last: RenderableType = Text("")

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, view: View) -> None:
        self._last = picture(view, self._units)
        self._live.update(self._last, refresh=True)

    def trouble(self, message: str) -> None:
        warning = Text(f"  {message}; trying again", style="yellow", no_wrap=True, overflow="ellipsis")
        self._live.update(Group(self._last, warning), refresh=True)


class Lines:
    """One line per interval and one at the end, for logs and pipes."""

    def __init__(self, console: Console, units: Units) -> None:
        self._console = console
        self._units = units

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, view: View) -> None:
        self._write(line(view, self._units))

    def trouble(self, message: str) -> None:
        self._write(f"{message}; trying again")

    def _write(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


class Nothing:
    """Shows nothing, for `--wait` alone."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, view: View) -> None:
        return None

    def trouble(self, message: str) -> None:
        return None


def line(view: View, units: Units) -> str:
    """The view in one line of plain text."""
    parts = [f"{view.id}: {_objects(view)}"]
    if view.transferred_bytes is not None:
        parts.append(formats.size(view.transferred_bytes, units))
    if view.bytes_per_second is not None:
        parts.append(formats.rate(view.bytes_per_second, units))
    if view.seconds_left is not None:
        parts.append(f"{formats.duration(view.seconds_left)} left")
    if view.error_count:
        parts.append(f"{formats.count(view.error_count)} failed")
    if view.silent_targets:
        parts.append(_silent(view))
    if view.slowest and not view.is_over:
        parts.append(f"slowest: {_slow(view.slowest[0], units)}")
    return ", ".join(parts)


def picture(view: View, units: Units) -> RenderableType:
    """The view as bars."""
    title = Text(no_wrap=True, overflow="ellipsis")
    title.append(view.id, style="bold")
    title.append(f"  {formats.name(view.description)}", style="dim")
    figures = _grid(7)
    figures.add_row(
        ProgressBar(total=1.0, completed=view.fraction, width=_BAR_CELLS),
        Text(f"{view.fraction * 100:3.0f}%", style="bold"),
        Text(_objects(view)),
        Text("" if view.transferred_bytes is None else formats.size(view.transferred_bytes, units)),
        Text("" if view.bytes_per_second is None else formats.rate(view.bytes_per_second, units)),
        Text("" if view.seconds_left is None else f"{formats.duration(view.seconds_left)} left", style="cyan"),
        Text(f"{formats.count(view.error_count)} failed" if view.error_count else "", style="bold red"),
    )
    silent = [Text(f"  {_silent(view)}", style="yellow")] if view.silent_targets else []
    return Group(title, figures, *silent, *_slow_rows(view, units))


def _silent(view: View) -> str:
    return f"no answer from {', '.join(formats.name(target) for target in view.silent_targets)}"


def _grid(columns: int) -> Table:
    """Columns that are cut rather than wrapped: on a narrow terminal the picture keeps its height."""
    grid = Table.grid(padding=(0, 2))
    for _ in range(columns):
        grid.add_column(no_wrap=True, overflow="ellipsis")
    return grid


def _slow_rows(view: View, units: Units) -> list[RenderableType]:
    if view.is_over or not view.slowest:
        return []
    rows = _grid(5)
    for task in view.slowest:
        fraction = task.downloaded_bytes / task.total_bytes if task.total_bytes else 0.0
        rows.add_row(
            Text("  "),
            ProgressBar(total=1.0, completed=min(1.0, fraction), width=12),
            Text(_shortened(formats.name(task.name))),
            Text(_of_total(task, units), style="dim"),
            Text("" if task.bytes_per_second is None else formats.rate(task.bytes_per_second, units), style="dim"),
        )
    more = view.active_count - len(view.slowest)
    label = f"  slowest of {formats.count(view.active_count)} on their way:" if more > 0 else "  on their way:"
    return [Text(label, style="dim"), rows]


def _objects(view: View) -> str:
    if not view.all_known:
        return f"{formats.count(view.done_count)} of at least {formats.count(view.total_count, 'object')}"
    return f"{formats.count(view.done_count)} of {formats.count(view.total_count, 'object')}"


def _slow(task: SlowTask, units: Units) -> str:
    rate = "" if task.bytes_per_second is None else f" at {formats.rate(task.bytes_per_second, units)}"
    return f"{_shortened(formats.name(task.name))} ({_of_total(task, units)}{rate})"


def _of_total(task: SlowTask, units: Units) -> str:
    done = formats.size(task.downloaded_bytes, units)
    return f"{done} of {formats.size(task.total_bytes, units)}" if task.total_bytes else done


def _shortened(text: str) -> str:
    """The end of a long name tells more than its beginning."""
    return text if len(text) <= _NAME_CELLS else "…" + text[-_NAME_CELLS + 1 :]
