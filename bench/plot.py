"""Draws the measured rows: one panel a row, a bar for every contender's median and a dot for every sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

_OURS, _THEIRS = "#1b6ca8", "#b0b7bf"
_COLUMNS = 2


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a PNG; contenders of different units get panels of their own."""
    panels = [
        (row["key"], row["workload"], unit, [s for s in row["series"] if s["unit"] == unit])
        for row in rows
        for unit in dict.fromkeys(s["unit"] for s in row["series"])
    ]
    height = -(-len(panels) // _COLUMNS)
    figure, grid = plt.subplots(height, _COLUMNS, figsize=(15, 2.6 * height), squeeze=False)
    axes = grid.flatten()
    for axis, (key, workload, unit, series) in zip(axes, panels, strict=False):
        _panel(axis, f"{key}: {workload}", unit, series)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axis: Any, title: str, unit: str, series: Sequence[Mapping[str, Any]]) -> None:
    positions = range(len(series))
    peers = ("curl", "aria2c", "nginx", "one curl")
    colours = [_THEIRS if s["name"].startswith(peers) else _OURS for s in series]
    axis.barh(positions, [s["median"] for s in series], color=colours, height=0.6)
    for position, one in zip(positions, series, strict=True):
        axis.plot(one["samples"], [position] * len(one["samples"]), "k.", markersize=4)
    axis.set_yticks(list(positions), [s["name"] for s in series], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(left=0)
    axis.set_xlabel(unit, fontsize=8)
    axis.set_title(title if len(title) < 95 else title[:94] + "…", fontsize=8, loc="left")
