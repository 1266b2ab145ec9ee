"""The figures for people: a table on the terminal, the same in Markdown, and one picture."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.figures import Figure, Machine, Results, Sample

_WIDTH: Final = 960
_NAMES: Final = 300
_BARS: Final = 430
_LINE: Final = 15
_COLOURS: Final = {"ours": "#0b7285", "naive": "#e8590c"}
_OTHER: Final = "#adb5bd"


def table(results: Results) -> Table:
    """Make the table for the terminal."""
    told = Table(title=heading(results), title_justify="left", row_styles=("", "dim"))
    for column in ("figure", "unit", "ours", "beside", "target", "ratio", "reached"):
        told.add_column(column, justify="right" if column in {"ours", "ratio"} else "left")
    for figure in results.figures:
        peers = "\n".join(f"{name} {spread(each)}" for name, each in figure.peers.items())
        told.add_row(figure.name, figure.unit, spread(figure.ours), peers, figure.target, *_judged(figure))
    return told


def markdown(results: Results) -> str:
    """Write the table, and the notes to it, in Markdown."""
    rows = [
        "| figure | unit | ours | beside | target | ratio | reached |",
        "|---|---|---:|---|---|---:|---|",
    ]
    for figure in results.figures:
        peers = "<br>".join(f"{name} {spread(each)}" for name, each in figure.peers.items())
        judged = " | ".join(_judged(figure))
        rows.append(f"| {figure.name} | {figure.unit} | {spread(figure.ours)} | {peers} | {figure.target} | {judged} |")
    notes = [f"- *{figure.name}*: {figure.note.rstrip('.')}." for figure in results.figures]
    return "\n".join([heading(results), "", *rows, "", *notes])


def heading(results: Results) -> str:
    """Name the machine."""
    machine: Machine = results.machine
    quick = "; tiny sizes, which say nothing" if results.quick else ""
    return (
        f"{machine.date}, {machine.cores} cores of {machine.cpu}, {machine.memory_gib:.0f} GiB, {machine.system}, "
        f"Python {machine.python}; medians and quartiles{quick}"
    )


def spread(values: Sample) -> str:
    """Write the median, and the quartiles where there are any."""
    if len(values.values) == 1:
        return number(values.median)
    low, high = values.quartiles
    return f"{number(values.median)} ({number(low)} to {number(high)})"


def number(value: float) -> str:
    """Write three digits that count."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004 - no 1e+03


def _judged(figure: Figure) -> tuple[str, str]:
    reached = {True: "yes", False: "NO", None: ""}[figure.reached]
    return "" if figure.ratio is None else number(figure.ratio), reached


def picture(results: Results) -> str:
    """Draw a bar a sample, each figure to its own scale, as SVG."""
    parts = list(_drawn(results))
    height = sum(_height(figure) for figure in results.figures) + 50
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _height(figure: Figure) -> int:
    return _LINE * (1 + len(figure.peers)) + 10


def _drawn(results: Results) -> Iterator[str]:
    yield f'<text x="10" y="20" font-size="13">{escape(heading(results))}</text>'
    top = 40
    for figure in results.figures:
        samples = {"ours": figure.ours, **figure.peers}
        longest = max(each.median for each in samples.values()) or 1.0
        yield f'<text x="10" y="{top + 11}">{escape(figure.name)}, {escape(figure.unit)}</text>'
        for line, (name, each) in enumerate(samples.items()):
            y = top + line * _LINE
            width = max(1.0, each.median / longest * _BARS)
            yield (
                f'<rect x="{_NAMES}" y="{y + 2}" width="{width:.1f}" height="{_LINE - 4}" '
                f'fill="{_COLOURS.get(name, _OTHER)}"/>'
                f'<text x="{_NAMES + width + 5:.1f}" y="{y + 11}">{escape(name)} {number(each.median)}</text>'
            )
        if figure.reached is not None:
            word, colour = ("reached", "#2b8a3e") if figure.reached else ("not reached", "#c92a2a")
            yield f'<text x="10" y="{top + 11 + _LINE}" fill="{colour}">{escape(figure.target)}: {word}</text>'
        top += _height(figure)
