"""Draws docs/bench/*.svg from what the benchmarks said.

    draw.py FOLDER_WITH_JSON FOLDER_FOR_SVG

By Matplotlib, for its axes and legends. Text stays text and takes the reader's colour: the ink that
Matplotlib writes is replaced by `currentColor`, which a style sheet sets for light and dark pages.
The other colours are legible on both.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler

mpl.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

INK = "#010203"  # stands for the reader's own colour
OURS, LIMIT = "#d9480f", "#868e96"
PEERS = ["#1c7ed6", "#2f9e44", "#ae3ec9", "#b08900", "#0c8599", "#e64980"]
PORTS = "port limit at the measured clock"
THIN: dict[str, Any] = {"color": INK, "linewidth": 1.1, "alpha": 0.75}
DASHED: dict[str, Any] = {"color": LIMIT, "linewidth": 1.4, "linestyle": (0, (5, 3)), "zorder": 1}
REMARK = "thin: from the slowest round to the fastest; dashed: what the ports allow at this clock"
FONT = 'system-ui, -apple-system, "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif'
STYLE = f"""<style>
svg {{ color: #1f2328 }}
@media (prefers-color-scheme: dark) {{ svg {{ color: #e6edf3 }} }}
text {{ font-family: {FONT} !important }}
</style>
"""
Measured = dict[str, Any]  # what one script said


def by_size(aead: Measured) -> Figure:
    """Lines: what one call brings, by its size."""
    figure, axes = _page("Opening AES-256-GCM, by the size of a call", aead, height=5.0)
    calls = [record for record in _speeds(aead) if "one call" in record["question"]]
    for name in _families(calls):
        points = sorted((r["bytes"], r["gb_per_s"]) for r in calls if _family(r["name"]) == name)
        mine = name == "Message.open_into"
        look = {"color": OURS, "linewidth": 3, "zorder": 5} if mine else {"linewidth": 1.8}
        if name == "memcpy":
            look = {"color": LIMIT, "linewidth": 1.4, "linestyle": (0, (1, 2))}
        label = "sealserve, Message.open_into" if mine else name
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4.5, label=label, **look)
    limit = _port_limit(aead)
    if limit is not None:
        axes.axhline(limit, label=PORTS, **DASHED)
    sizes = sorted({record["bytes"] for record in calls})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _bytes(size)))
    axes.set_yscale("log")
    _plain_log(axes)
    axes.set_xlabel("plaintext per call")
    axes.set_ylabel("GB/s (logarithmic)")
    _legend(figure, axes)
    return figure


def by_threads(load: Measured) -> Figure:
    """Bars: ours and the same structure on OpenSSL, for each number of threads."""
    figure, axes = _page("Cached file to verified plaintext, by threads", load, height=4.2)
    rows = [record for record in _speeds(load) if record["question"].endswith("by threads")]
    counts = sorted({record["threads"] for record in rows})
    kinds = {
        "sealserve, load": ([r for r in rows if r in load["ours"]], OURS),
        "the same structure on the system's OpenSSL": (
            [r for r in rows if r in load["peers"]],
            PEERS[0],
        ),
    }
    for place, (name, (records, colour)) in enumerate(kinds.items()):
        at = [counts.index(r["threads"]) + (place - 0.5) * 0.36 for r in records]
        axes.bar(at, [r["gb_per_s"] for r in records], 0.33, color=colour, label=name)
        lows, highs = zip(*(record["spread_gb_per_s"] for record in records), strict=True)
        axes.vlines(at, lows, highs, **THIN)
        for x, record in zip(at, records, strict=True):
            _number(axes, x, record["gb_per_s"])
    reading = next(x["gb_per_s"] for x in load["limit"] if x["what"].startswith("page cache"))
    axes.axhline(reading, label="the file read and nothing else, one thread", **DASHED)
    axes.set_xticks(range(len(counts)), [f"{n} thread{'s' * (n > 1)}" for n in counts])
    axes.set_ylabel("GB/s of plaintext")
    axes.set_ylim(bottom=0)
    _legend(figure, axes)
    return figure


def by_peer(measured: dict[str, Measured]) -> Figure:
    """Bars: the four questions, ours first, then whoever else answers it."""
    wanted = [
        ("aead", "Opened, 16 KiB chunks", "AES-256-GCM opened, in level 2 cache"),
        (
            "verity",
            "Compared with a tree",
            "Leaves of 4 KiB compared with a tree, in level 2 cache",
        ),
        ("load", "Loaded from the page cache, one", "Cached sealed file loaded or verified"),
        ("seal", "Sealed into a file", "Sealed into a file, with its tree"),
    ]
    panels = [
        (title, _ranked(measured[name], start), measured[name]) for name, start, title in wanted
    ]
    heights = [len(rows) + 1.2 for _, rows, _ in panels]
    figure, all_axes = pyplot.subplots(
        len(panels), 1, figsize=(9, 0.25 * sum(heights) + 1.6), height_ratios=heights
    )
    for axes, (title, rows, one) in zip(all_axes, panels, strict=True):
        _bars(axes, rows, one)
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    all_axes[-1].set_xlabel("GB/s, one thread")
    _heading(figure, "One core, side by side")
    figure.text(0.02, _down(figure, 0.42), REMARK, va="top", fontsize=9.5)
    _caption(figure, measured["load"])
    figure.tight_layout(rect=(0, 0.03, 1, _down(figure, 0.6)))
    return figure


def _number(axes: Axes, x: float, rate: float) -> None:
    """At the foot of a bar, out of the way of the line that tells its spread."""
    axes.annotate(
        f"{rate:.2f}",
        (x, 0),
        (0, 5),
        textcoords="offset points",
        ha="center",
        color="white",
        fontweight="bold",
    )


def _bars(axes: Axes, rows: Sequence[Measured], measured: Measured) -> None:
    """A bound that would dwarf the peers is cut off, with an arrow."""
    places = range(len(rows), 0, -1)
    peers = [row["spread_gb_per_s"][1] for row in rows if not _is_bound(row)]
    limit = _port_limit(measured)
    room = max([*peers, limit or 0]) * 1.08
    for place, row in zip(places, rows, strict=True):
        rate, cut = row["gb_per_s"], row["gb_per_s"] > room
        axes.barh(place, min(rate, room), 0.72, color=_colour(row, measured))
        low, high = row["spread_gb_per_s"]
        end = min(room, max(rate, high))
        if not cut:
            axes.hlines(place, low, end, **THIN)
        text = f"{rate:.2f}" + (" →" if cut else "")
        axes.text(end + room * 0.012, place, text, va="center", fontsize=9)
    if limit is not None:
        axes.axvline(limit, **DASHED)
    axes.set_yticks(places, [_label(row, measured) for row in rows], fontsize=9)
    axes.set_xlim(0, room * 1.09)
    axes.grid(axis="y", visible=False)


def _colour(row: Measured, measured: Measured) -> str:
    if _is_bound(row):
        return LIMIT
    return OURS if row in measured["ours"] else PEERS[0]


def _ranked(measured: Measured, question: str) -> list[Measured]:
    """Ours, the others from the fastest on (of each library its best text size), then bounds."""
    rows = [record for record in _speeds(measured) if record["question"].startswith(question)]
    peers: dict[str, Measured] = {}
    for row in rows:
        name = _family(row["name"])
        if row not in measured["ours"] and (
            name not in peers or row["gb_per_s"] > peers[name]["gb_per_s"]
        ):
            peers[name] = row
    ranked = sorted(peers.values(), key=lambda row: (_is_bound(row), -row["gb_per_s"]))
    return [row for row in rows if row in measured["ours"]] + ranked


def _page(title: str, measured: Measured, *, height: float) -> tuple[Figure, Axes]:
    figure, axes = pyplot.subplots(figsize=(9, height))
    _heading(figure, title)
    _caption(figure, measured)
    return figure, axes


def _heading(figure: Figure, text: str) -> None:
    figure.text(0.02, _down(figure, 0.12), text, va="top", fontsize=14, fontweight="bold")


def _down(figure: Figure, inches: float) -> float:
    """A height so far below the upper edge."""
    return float(1 - inches / figure.get_figheight())


def _caption(figure: Figure, measured: Measured) -> None:
    about, kernels = measured["machine"], measured["kernels"]
    clock = next((x["clock_ghz"] for x in measured["limit"] if "clock_ghz" in x), None)
    at = f" at {clock:.2f} GHz" if clock else ""
    figure.text(
        0.02,
        0.012,
        f"{about['cores']} x {about['processor']}{at}; kernels {kernels['gcm'][0]},"
        f" {kernels['sha256'][0]}; {about['openssl'].rsplit(' ', 3)[0]}; median of"
        f" {measured['repeats']} rounds; load average before"
        f" {measured['disturbance']['load_average']:.1f}; {about['date']}",
        fontsize=8.5,
        color=LIMIT,
    )


def _legend(figure: Figure, axes: Axes) -> None:
    """Between the heading and the axes, in rows of three."""
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        frameon=False,
        fontsize=9,
        ncols=3,
        columnspacing=1.4,
        handlelength=1.8,
    )
    legend.set_in_layout(False)  # it may be wider than the axes
    rows = -(-len(legend.get_texts()) // 3)
    figure.tight_layout(rect=(0, 0.04, 1, _down(figure, 0.4 + 0.19 * rows)))


def _port_limit(measured: Measured) -> float | None:
    """GB/s at the clock that was measured; None where no model of ports is stated."""
    rates = [x["gb_per_s"] for x in measured["limit"] if "bytes_per_cycle" in x]
    return rates[0] if rates else None


def _plain_log(axes: Axes) -> None:
    """1, 2, 5, 10 instead of powers."""
    low, high = axes.get_ylim()
    ticks = [m * 10.0**e for e in range(-3, 3) for m in (1, 2, 5)]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))


def _speeds(measured: Measured) -> list[Measured]:
    return [record for record in measured["ours"] + measured["peers"] if "gb_per_s" in record]


def _families(records: Sequence[Measured]) -> list[str]:
    return list(dict.fromkeys(_family(record["name"]) for record in records))


def _family(name: str) -> str:
    """A library, whatever its texts' size."""
    return name.partition(", texts of")[0]


def _label(row: Measured, measured: Measured) -> str:
    return f"sealserve, {row['name']}" if row in measured["ours"] else row["name"]


def _is_bound(row: Measured) -> bool:
    """Whether it is no peer but what the machine allows."""
    name: str = row["name"]
    return name.startswith(("memcpy", "page cache"))


def _bytes(size: float) -> str:
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    text = path.read_text().replace(INK, "currentColor")
    text = re.sub(r"(<svg [^>]*>\n)", rf"\1{STYLE}", text, count=1)
    path.write_text(text)


def _set_up() -> None:
    ink: Any = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    )
    mpl.rcParams.update(
        ink
        | {
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.prop_cycle": cycler(color=PEERS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "font.size": 10,
            "grid.alpha": 0.35,
            "grid.color": LIMIT,
            "grid.linewidth": 0.6,
            "svg.fonttype": "none",
            "svg.hashsalt": "sealserve",  # the same input gives the same file
        }
    )


def main(source: Path, target: Path) -> None:
    names = ("aead", "verity", "load", "seal")
    measured = {name: json.loads((source / f"{name}.json").read_text()) for name in names}
    _set_up()
    target.mkdir(parents=True, exist_ok=True)
    _save(by_size(measured["aead"]), target / "size.svg")
    _save(by_threads(measured["load"]), target / "threads.svg")
    _save(by_peer(measured), target / "peers.svg")


main(Path(sys.argv[1]), Path(sys.argv[2]))
