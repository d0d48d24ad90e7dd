"""Draws docs/bench/*.svg from what the benchmarks said.

    python -m support.draw FOLDER_WITH_JSON FOLDER_FOR_SVG

By Matplotlib, for its axes and legends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from support.page import (
    DASHED,
    LIMIT,
    OURS,
    PEERS,
    THIN,
    Measured,
    caption,
    down,
    heading,
    legend,
    page,
    save,
    set_up,
)

PORTS = "port limit at the measured clock"
REMARK = "thin: from the slowest round to the fastest; dashed: what the ports allow at this clock"


def by_size(aead: Measured) -> Figure:
    """Lines: what one call brings, by its size."""
    figure, axes = page("Opening AES-256-GCM, by the size of a call", aead, height=5.0)
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
    legend(figure, axes)
    return figure


def by_threads(load: Measured) -> Figure:
    """Bars: ours and the same structure on OpenSSL, for each number of threads."""
    figure, axes = page("Cached file to verified plaintext, by threads", load, height=4.2)
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
    legend(figure, axes)
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
    heading(figure, "One core, side by side")
    figure.text(0.02, down(figure, 0.42), REMARK, va="top", fontsize=9.5)
    caption(figure, measured["load"])
    figure.tight_layout(rect=(0, 0.03, 1, down(figure, 0.6)))
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


def main(source: Path, target: Path) -> None:
    names = ("aead", "verity", "load", "seal")
    measured = {name: json.loads((source / f"{name}.json").read_text()) for name in names}
    set_up()
    target.mkdir(parents=True, exist_ok=True)
    save(by_size(measured["aead"]), target / "size.svg")
    save(by_threads(measured["load"]), target / "threads.svg")
    save(by_peer(measured), target / "peers.svg")


main(Path(sys.argv[1]), Path(sys.argv[2]))
