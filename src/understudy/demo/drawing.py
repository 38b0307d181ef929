"""Drawing on a terminal, a pipe or a file: bars of acknowledgements, lines of a timeline, the table of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.demo.ledger import Entry, Status

BARS = " ▁▂▃▄▅▆▇█"
PLAIN_BARS = " ..::||##"
WHEN, NAME, TOOK = 10, 17, 8  # widths of a timeline's columns


def bars(console: Console) -> str:
    """Eight heights of a bar, as far as this terminal can show them."""
    return BARS if "utf" in (console.encoding or "").lower() else PLAIN_BARS


def histogram(entries: Iterable[Entry], start: int, end: int, width: int) -> list[int]:
    """Acknowledgements in each of ``width`` equal parts of the time from ``start`` to ``end`` (ns)."""
    counts = [0] * width
    for entry in entries:
        if entry.status is Status.ACKED and start <= entry.ended < end:
            counts[(entry.ended - start) * width // (end - start)] += 1
    return counts


def sparkline(counts: Sequence[int], heights: str) -> str:
    """One character per count; only a count of nothing at all is drawn as nothing."""
    most = max([*counts, 1])
    steps = len(heights) - 1
    return "".join(heights[0] if not n else heights[max(1, round(n / most * steps))] for n in counts)


def heading(console: Console, title: str, text: str = "") -> None:
    """The beginning of a chapter."""
    console.print()
    console.print(Text(title, style="bold"))
    if text:
        console.print(Text(text), style="dim")


def line(
    console: Console, when: str, name: str, took: float | None, text: str, *, style: str = "", why: str = ""
) -> None:
    """One line of the timeline: when, which step, how long it took (s), what happened, and why it is done."""
    grid = Table.grid(padding=(0, 1))
    for width in (WHEN, NAME, TOOK):
        grid.add_column(width=width, no_wrap=True)
    grid.add_column(overflow="fold")
    sentence = Text(text, style=style)
    if why:
        sentence.append(f"  ({why})", style="dim not bold")
    duration = f"{took * 1000:.0f} ms" if took is not None else ""
    grid.add_row(
        Text(when, justify="right", style="cyan"),
        Text(name, style=style),
        Text(duration, justify="right"),
        sentence,
    )
    console.print(grid)


def prose(console: Console, when: str, text: str) -> None:
    """One line that is no step of a plan."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=WHEN, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(when, justify="right", style="cyan"), Text(text))
    console.print(grid)


def chart(console: Console, entries: Sequence[Entry], span: tuple[int, int], mark: int, what: str) -> None:
    """Acknowledgements over the time of ``span``, with a mark beneath one moment (all in ns)."""
    start, end = span
    width = max(20, min(console.width, 120) - WHEN - 2)
    counts = histogram(entries, start, end, width)
    each = (end - start) / width / 1e6
    indent = " " * (WHEN + 1)
    console.print(Text(f"{indent}acknowledged to the writers, one column = {each:.0f} ms:", style="dim"))
    console.print(Text(indent + sparkline(counts, bars(console)), style="green"))
    at = min(width - 1, max(0, (mark - start) * width // (end - start)))
    note = f"^ {what}" if at + len(what) + 2 <= width else f"{what} ^"
    offset = at if note.startswith("^") else max(0, at - len(what) - 1)
    console.print(Text(indent + " " * offset + note))


def results(console: Console, rows: Iterable[tuple[str, str, bool | None]]) -> None:
    """The table at the end: what, how much, and whether that is as promised (None: there is no promise)."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    for what, value, held in rows:
        mark = (
            Text("")
            if held is None
            else Text("ok", style="green")
            if held
            else Text("BROKEN", style="bold red")
        )
        table.add_row(what, value, mark)
    console.print(table)
