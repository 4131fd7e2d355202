"""Draws a job's progress: bars on a terminal, a line now and then everywhere else.

Measuring is left to `cli.downloads.progress`, asking the cluster to `cli.downloads.watch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli import formats
from cli.downloads.progress import SlowTask, View
from cli.formats import Units

_BAR_CELLS = 36
_SHORTEST_BAR_CELLS = 8
_SMALL_BAR_CELLS = 12
_NAME_CELLS = 48
_SHORTEST_NAME_CELLS = 20
_GAP_CELLS = 2


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
        self._console = console
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
        self._last = picture(view, self._units, self._console.width)
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


def picture(view: View, units: Units, width: int) -> RenderableType:
    """The view as bars, in lines of at most `width` cells."""
    title = Text(no_wrap=True, overflow="ellipsis")
    title.append(view.id, style="bold")
    title.append(f"  {formats.name(view.description)}", style="dim")
    silent = [Text(f"  {_silent(view)}", style="yellow")] if view.silent_targets else []
    return Group(title, *_figures(view, units, width), *silent, *_slow_rows(view, units, width))


def _figures(view: View, units: Units, width: int) -> list[RenderableType]:
    """All in one row with as long a bar as there is room for; in two where there is hardly any."""
    counts = [Text(f"{view.fraction * 100:3.0f}%", style="bold"), Text(_objects(view))]
    speed = [
        Text("" if view.transferred_bytes is None else formats.size(view.transferred_bytes, units)),
        Text("" if view.bytes_per_second is None else formats.rate(view.bytes_per_second, units)),
        Text("" if view.seconds_left is None else f"{formats.duration(view.seconds_left)} left", style="cyan"),
    ]
    failed = Text(f"{formats.count(view.error_count)} failed" if view.error_count else "", style="bold red")
    if _room(width, [*counts, *speed, failed]) >= _SHORTEST_BAR_CELLS:
        return [_row_with_bar(view, [*counts, *speed, failed], width)]
    second = Text("  ", no_wrap=True, overflow="ellipsis")
    second.append_text(Text(" " * _GAP_CELLS).join(text for text in [*speed, failed] if text))
    return [_row_with_bar(view, counts, width), second]


def _row_with_bar(view: View, texts: Sequence[Text], width: int) -> RenderableType:
    room = _room(width, texts)
    bar = ProgressBar(total=1.0, completed=view.fraction, width=min(_BAR_CELLS, room))
    cells = [bar, *texts] if room >= _SHORTEST_BAR_CELLS else texts
    row = _grid(len(cells))
    row.add_row(*cells)
    return row


def _room(width: int, texts: Sequence[Text]) -> int:
    """What those columns leave of a line for one more."""
    return width - sum(text.cell_len + _GAP_CELLS for text in texts)


def _silent(view: View) -> str:
    return f"no answer from {', '.join(formats.name(target) for target in view.silent_targets)}"


def _grid(columns: int) -> Table:
    """Columns that are cut rather than wrapped: on a narrow terminal the picture keeps its height."""
    grid = Table.grid(padding=(0, _GAP_CELLS))
    for _ in range(columns):
        grid.add_column(no_wrap=True, overflow="ellipsis")
    return grid


def _slow_rows(view: View, units: Units, width: int) -> list[RenderableType]:
    """The objects on their way; where it is narrow their names become shorter, then their bars go."""
    if view.is_over or not view.slowest:
        return []
    figures = [
        (Text(_of_total(task, units), style="dim"), Text(_rate(task, units), style="dim")) for task in view.slowest
    ]
    columns = [max(column, key=lambda text: text.cell_len) for column in zip(*figures, strict=True)]
    room = _room(width, [Text("  "), *columns])
    has_bars = room - _SMALL_BAR_CELLS - _GAP_CELLS >= _SHORTEST_NAME_CELLS
    name_cells = max(1, min(_NAME_CELLS, room - _SMALL_BAR_CELLS - _GAP_CELLS if has_bars else room))
    rows = _grid(5 if has_bars else 4)
    for task, texts in zip(view.slowest, figures, strict=True):
        fraction = task.downloaded_bytes / task.total_bytes if task.total_bytes else 0.0
        bar = ProgressBar(total=1.0, completed=min(1.0, fraction), width=_SMALL_BAR_CELLS)
        name = Text(_shortened(formats.name(task.name), name_cells))
        rows.add_row(Text("  "), *([bar] if has_bars else []), name, *texts)
    more = view.active_count - len(view.slowest)
    label = f"  slowest of {formats.count(view.active_count)} on their way:" if more > 0 else "  on their way:"
    return [Text(label, style="dim"), rows]


def _objects(view: View) -> str:
    if not view.all_known:
        return f"{formats.count(view.done_count)} of at least {formats.count(view.total_count, 'object')}"
    return f"{formats.count(view.done_count)} of {formats.count(view.total_count, 'object')}"


def _slow(task: SlowTask, units: Units) -> str:
    rate = "" if task.bytes_per_second is None else f" at {_rate(task, units)}"
    return f"{_shortened(formats.name(task.name), _NAME_CELLS)} ({_of_total(task, units)}{rate})"


def _rate(task: SlowTask, units: Units) -> str:
    return "" if task.bytes_per_second is None else formats.rate(task.bytes_per_second, units)


def _of_total(task: SlowTask, units: Units) -> str:
    done = formats.size(task.downloaded_bytes, units)
    return f"{done} of {formats.size(task.total_bytes, units)}" if task.total_bytes else done


def _shortened(text: str, cells: int) -> str:
    """The end of a long name tells more than its beginning."""
    if cell_len(text) <= cells:
        return text
    end = text[-cells:]
    while cell_len(end) >= cells and end:
        end = end[1:]
    return "…" + end
