"""What all charts share: ink, colours, heading, legend, caption, and how they become files.

Text stays text and takes the reader's colour: the ink that Matplotlib writes is replaced by
`currentColor`, which a style sheet sets for light and dark pages. The other colours are legible on
both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler

mpl.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Measured = dict[str, Any]  # what one script said

INK = "#010203"  # stands for the reader's own colour
OURS, LIMIT = "#d9480f", "#868e96"
PEERS = ["#1c7ed6", "#2f9e44", "#ae3ec9", "#b08900", "#0c8599", "#e64980"]
THIN: dict[str, Any] = {"color": INK, "linewidth": 1.1, "alpha": 0.75}
DASHED: dict[str, Any] = {"color": LIMIT, "linewidth": 1.4, "linestyle": (0, (5, 3)), "zorder": 1}
FONT = 'system-ui, -apple-system, "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif'
STYLE = f"""<style>
svg {{ color: #1f2328 }}
@media (prefers-color-scheme: dark) {{ svg {{ color: #e6edf3 }} }}
text {{ font-family: {FONT} !important }}
</style>
"""


def set_up() -> None:
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


def page(title: str, measured: Measured, *, height: float) -> tuple[Figure, Axes]:
    figure, axes = pyplot.subplots(figsize=(9, height))
    heading(figure, title)
    caption(figure, measured)
    return figure, axes


def heading(figure: Figure, text: str) -> None:
    figure.text(0.02, down(figure, 0.12), text, va="top", fontsize=14, fontweight="bold")


def caption(figure: Figure, measured: Measured) -> None:
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


def legend(figure: Figure, axes: Axes) -> None:
    """Between the heading and the axes, in rows of three."""
    shown = axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        frameon=False,
        fontsize=9,
        ncols=3,
        columnspacing=1.4,
        handlelength=1.8,
    )
    shown.set_in_layout(False)  # it may be wider than the axes
    rows = -(-len(shown.get_texts()) // 3)
    figure.tight_layout(rect=(0, 0.04, 1, down(figure, 0.4 + 0.19 * rows)))


def down(figure: Figure, inches: float) -> float:
    """A height so far below the upper edge."""
    return float(1 - inches / figure.get_figheight())


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    text = re.sub(" +\n", "\n", path.read_text()).replace(INK, "currentColor")
    text = re.sub(r"(<svg [^>]*>\n)", rf"\1{STYLE}", text, count=1)
    path.write_text(text)
