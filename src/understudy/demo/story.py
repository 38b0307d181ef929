"""The demo as a story: two servers, an application that writes, a fault, the failover, the way home, the audit."""

from __future__ import annotations

import contextlib
import json as json_text
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import psycopg
from rich.console import Console
from rich.live import Live
from rich.text import Text

from understudy.demo import audit, drawing, words
from understudy.demo.application import Application, Books
from understudy.demo.group import Group
from understudy.demo.lab import Lab
from understudy.demo.ledger import Entry
from understudy.model import Role, Rpo
from understudy.witness.base import Event

POLICY = {"failback": "auto", "failback_after": "3s"}
STEADY = 3.0  # seconds of ordinary life before the fault, and of life on the standby before the return
PATIENCE = 180.0  # seconds for each chapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the demo measured: the keys of `understudy demo --json`. Times in milliseconds.

    Args:
        lost: acknowledged, neither on the present primary nor in the rescue files.
        doubled: copies of a transaction beyond the first.
        errors: what writers saw as an error, from the first transaction to the last.
        rescued: transactions that only the old primary had, kept in the rescue files.
        invariant_ok: on both servers the application's books add up (`Books`; TPC-B: accounts, tellers, branches
            and history to the same sum).
    """

    mode: str
    fault: str
    acked: int
    lost: int
    doubled: int
    errors: int
    outage_ms: float | None
    failback_stall_ms: float | None
    failback_errors: int
    rescued: int
    invariant_ok: bool
    checksums_equal: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """A result, and each promise that did not hold, as a sentence."""

    result: Result
    broken: tuple[str, ...]


class Story:
    """One run of the demo. ``console`` gets the timeline as it happens."""

    def __init__(self, console: Console, application: Application, *, mode: Rpo, fault: str) -> None:
        self._console, self._application = console, application
        self._mode, self._fault = mode, fault
        self._began = time.monotonic()
        self._told = 0
        self._zero_wall = 0.0
        self._fault_at = 0
        self._failback: tuple[int, int] = (0, 0)
        self._refused = ""

    def run(self) -> Ending:
        """Tell it. Raises `LabError` or `EmbeddedError` where a server or a chapter does not come to its end."""
        title = f"{self._application.title} ({self._fault}), and gets home"
        drawing.heading(self._console, title, f'rpo = "{self._mode}": {words.MODES[self._mode]}')
        drawing.heading(self._console, "Two independent servers")
        with self._application.lab(self._mode, POLICY, self._say) as lab:
            with self._application.clients(lab, self._say) as writers, self._counters(writers):
                self._steady(lab, writers)
                self._lose(lab, writers)
                self._return(lab, writers)
                self._go_home(lab, writers)
                time.sleep(1.0)
            return self._audit(lab, writers)

    # --- chapters ---------------------------------------------------------------------------------------

    def _steady(self, lab: Lab, writers: Group) -> None:
        drawing.heading(self._console, "Writers")
        before = writers.written
        time.sleep(STEADY)
        rate = (writers.written - before) / STEADY
        for sentence in self._application.introduced(rate):
            self._say(sentence)

    def _lose(self, lab: Lab, writers: Group) -> None:
        drawing.heading(self._console, f"The fault: {self._fault}", "times are seconds since the fault")
        self._told = lab.last_event
        self._zero_wall, self._fault_at = time.time(), time.monotonic_ns()
        self._line("fault", words.FAULTS[self._fault], style="bold red")
        if self._fault == "kill":
            lab.servers["a"].kill()
        else:
            lab.servers["a"].freeze()
        self._tell(lab, lambda: lab.state.primary == "b" and lab.state.plan is None, "a failover to b")
        time.sleep(STEADY)
        entries = writers.entries()
        outage = audit.outage_ms(entries, self._fault_at)
        errors = audit.errors_of(audit.between(entries, self._fault_at, time.monotonic_ns()))
        waited = f"{outage:.0f} ms" if outage is not None else "until now"
        saw = "none saw an error" if not errors else f"{errors} saw an error"
        self._line("writers", f"nobody got an acknowledgement for {waited}; {saw}", style="bold green")
        end = self._fault_at + max(2_000_000_000, round((outage or 0) * 2e6))
        start = self._fault_at - (end - self._fault_at) // 2
        drawing.chart(self._console, entries, (start, end), self._fault_at, "fault")

    def _return(self, lab: Lab, writers: Group) -> None:
        drawing.heading(self._console, "The old primary returns")
        began = time.monotonic_ns()
        self._line("return", words.RETURNS[self._fault], style="bold")
        if self._fault == "kill":
            lab.servers["a"].start()
        else:
            lab.servers["a"].thaw()
        self._tell(lab, lambda: self._is_standby(lab, "a"), "a to follow b, verified")
        self._refused = self._try_to_write(lab, "a")
        longest = audit.longest_gap_ms(writers.entries(), began, time.monotonic_ns())
        self._line("writers", f"all this time nobody waited longer than {longest:.0f} ms", style="bold green")
        self._line("a stranger", f"writes past Understudy, directly to a: {self._refused or 'ACCEPTED'}")

    def _go_home(self, lab: Lab, writers: Group) -> None:
        drawing.heading(
            self._console,
            "Home again",
            f"policy: failback = auto, after {POLICY['failback_after']} of health",
        )
        self._tell(lab, lambda: lab.state.primary == "a" and lab.state.plan is None, "the failback to a")
        began = next(e for e in reversed(lab.events()) if e.kind == "failback")
        # The state says it first, the history a moment later.
        published = lab.await_event("step:publish", 10, after=began.id)
        self._tell(lab, lambda: True, "the rest of the history")
        self._failback = (_monotonic(began.wall), _monotonic(published.wall) + 300_000_000)
        time.sleep(1.0)
        entries = writers.entries()
        stall = audit.longest_gap_ms(entries, *self._failback)
        errors = audit.errors_of(audit.between(entries, *self._failback))
        told = f"the longest wait for an acknowledgement was {stall:.0f} ms; {errors} errors"
        self._line("writers", told, style="bold green")
        start, end = self._failback[0] - 200_000_000, self._failback[1] + 200_000_000
        drawing.chart(self._console, entries, (start, end), self._failback[0], "failback")
        self._tell(lab, lab.settled, "a healthy pair")

    def _audit(self, lab: Lab, writers: Group) -> Ending:
        drawing.heading(
            self._console, "The audit", "the writers' ledgers against both databases and the rescue files"
        )
        self._tell(lab, lab.settled, "a healthy pair")
        self._zero_wall = 0.0
        report = lab.verify()
        self._say(f"{len(report.tables)} tables compared by checksum at one position of the log")
        books = self._application.books(lab)
        entries = writers.entries()
        with lab.connect(lab.state.primary) as connection:
            rows = self._application.rows(connection)
        counted = audit.count(entries, rows, self._application.rescued(lab.rescues))
        result = self._result(entries, counted, books, equal=report.equal)
        broken = tuple(self._broken(result, counted, books))
        self._show(result, counted, books, self._application.told(writers))
        return Ending(result, broken)

    # --- counting ---------------------------------------------------------------------------------------

    def _result(self, entries: list[Entry], counted: audit.Count, books: Books, *, equal: bool) -> Result:
        outage = audit.outage_ms(entries, self._fault_at)
        window = audit.between(entries, *self._failback)
        return Result(
            mode=self._mode.value,
            fault=self._fault,
            acked=counted.acked,
            lost=counted.absent if self._mode is Rpo.ZERO else counted.unaccounted,
            doubled=counted.doubled,
            errors=counted.errors,
            outage_ms=round(outage, 1) if outage is not None else None,
            failback_stall_ms=round(audit.longest_gap_ms(entries, *self._failback), 1),
            failback_errors=audit.errors_of(window),
            rescued=counted.rescued,
            invariant_ok=books.equal,
            checksums_equal=equal,
        )

    def _broken(self, result: Result, counted: audit.Count, books: Books) -> Iterator[str]:
        """Each promise of the README that this run has seen broken."""
        if counted.two_writers:
            yield f"1 (one writer): {counted.two_writers} acknowledgements of a node after its successor's first"
        if not self._refused:
            yield "1 (one writer): the returned server accepted a write before it was primary again"
        if result.lost:
            where = "on the primary" if self._mode is Rpo.ZERO else "on the primary or in the rescue files"
            number = 2 if self._mode is Rpo.ZERO else 3
            yield f"{number} (nothing lost): {result.lost} acknowledged transactions are not {where}"
        if result.failback_errors:
            yield f"4 (failback fails nothing): writers saw {result.failback_errors} errors during it"
        if not result.invariant_ok:
            yield f"5 (home only when it is safe): {books.what} differ"
        if not result.checksums_equal:
            yield "5 (home only when it is safe): the contents of the two servers differ"
        if result.doubled:
            yield f"7 (no guessing): {result.doubled} transactions were applied more than once"
        if result.outage_ms is None:
            yield "6 (never the reason for an outage): no write was acknowledged after the fault"

    def _show(
        self, result: Result, counted: audit.Count, books: Books, told: Sequence[tuple[str, str]]
    ) -> None:
        lost = "lost" if self._mode is Rpo.ZERO else "lost (neither on the primary nor rescued)"
        two = counted.two_writers
        places = [("written by two at a time", f"{two:,}", not two)] if self._application.tells_places else []
        rows: list[tuple[str, str, bool | None]] = [
            ("acknowledged", f"{result.acked:,}", None),
            (lost, f"{result.lost:,}", not result.lost),
            ("doubled", f"{result.doubled:,}", not result.doubled),
            *places,
            ("errors seen by writers", f"{result.errors:,}", None),
            ("outage", _ms(result.outage_ms), None),
            ("failback: longest wait", _ms(result.failback_stall_ms), None),
            ("failback: errors", f"{result.failback_errors:,}", not result.failback_errors),
            ("rescued from the old primary", f"{result.rescued:,}", None),
            ("  acknowledged ones among them", f"{counted.absent - counted.unaccounted:,}", None),
            *((what, amount, None) for what, amount in told),
            (f"{books.what} equal ({books.total:,})", _yes(result.invariant_ok), result.invariant_ok),
            ("checksums equal on both servers", _yes(result.checksums_equal), result.checksums_equal),
        ]
        self._console.print()
        drawing.results(self._console, rows)

    # --- looking ----------------------------------------------------------------------------------------

    @staticmethod
    def _is_standby(lab: Lab, node: str) -> bool:
        """It follows, was compared equal, and nothing is under way (in `zero`: the primary waits for it)."""
        record = lab.state.record(node)
        return lab.settled() and record.role is Role.STANDBY and record.verified

    def _try_to_write(self, lab: Lab, node: str) -> str:
        """A write past Understudy. Returns the server's refusal, or nothing where it was accepted."""
        try:
            with lab.connect(node) as connection:
                self._application.stray(connection)
        except psycopg.errors.ReadOnlySqlTransaction as error:
            return f"refused, {error.diag.message_primary}"
        return ""

    # --- telling ----------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        drawing.prose(self._console, f"{time.monotonic() - self._began:.1f} s", text)

    def _line(self, name: str, text: str, *, style: str = "") -> None:
        drawing.line(self._console, f"{time.time() - self._zero_wall:+.3f} s", name, None, text, style=style)

    def _tell(self, lab: Lab, until: Callable[[], bool], what: str) -> None:
        """Tell every event until something holds, and those that led to it."""

        def tell_new() -> bool:
            held = until()
            for event in lab.events(self._told):
                self._told = event.id
                self._event(lab, event)
            return held

        lab.await_true(tell_new, PATIENCE, what)

    def _event(self, lab: Lab, event: Event) -> None:
        why = words.WHY.get(event.kind.removeprefix("step:"), "") if event.kind.startswith("step:") else ""
        when = f"{event.wall - self._zero_wall:+.3f} s"
        text = words.shorten(event.message.replace(f"{lab.folder}/", ""))
        drawing.line(
            self._console,
            when,
            words.name(event.kind),
            event.took,
            text,
            style=words.style(event.kind),
            why=why,
        )

    @contextlib.contextmanager
    def _counters(self, writers: Group) -> Iterator[None]:
        """A line at the bottom of a terminal that counts as the writers write. In a pipe there is none."""
        if not self._console.is_terminal:
            yield
            return
        counters = _Counters(writers, drawing.bars(self._console))
        with Live(
            get_renderable=counters.render, console=self._console, refresh_per_second=8, transient=True
        ):
            yield


class _Counters:
    """Acknowledgements of the last seconds as a row of bars."""

    def __init__(self, writers: Group, heights: str) -> None:
        self._writers, self._heights = writers, heights
        self._recent: list[tuple[float, int]] = []

    def render(self) -> Text:
        now, written = time.monotonic(), self._writers.written
        self._recent = [*(r for r in self._recent if now - r[0] < 8.0), (now, written)]
        steps = [b[1] - a[1] for a, b in zip(self._recent, self._recent[1:], strict=False)]
        last = [r for r in self._recent if now - r[0] <= 1.0]
        rate = (written - last[0][1]) / (now - last[0][0]) if now > last[0][0] else 0.0
        text = Text(f"  {written:>8,} written  {rate:>5.0f} per second  ")
        return text.append(drawing.sparkline(steps[-50:], self._heights), style="green")


def _monotonic(wall: float) -> int:
    """A wall time of this run on the monotonic clock, in ns."""
    return time.monotonic_ns() - round((time.time() - wall) * 1e9)


def _ms(value: float | None) -> str:
    return f"{value:,.0f} ms" if value is not None else "it never ended"


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


def verdict(console: Console, ending: Ending) -> None:
    """The last line: whether the promises held."""
    console.print()
    if not ending.broken:
        held = (
            "one writer, nothing lost, nothing doubled, a failback without errors, home only when it was safe"
        )
        console.print(Text(f"All promises held: {held}.", style="bold green"))
        return
    for reason in ending.broken:
        console.print(Text(f"BROKEN, promise {reason}", style="bold red"))


def tell(application: Application, *, mode: Rpo, faults: Sequence[str], json: bool) -> bool:
    """Tell one story for each fault; whether all promises held. ``json``: it on stdout, the story on stderr."""
    console = Console(stderr=json, highlight=False, emoji=False)
    endings = []
    for fault in faults:
        endings.append(Story(console, application, mode=mode, fault=fault).run())
        verdict(console, endings[-1])
    if json:
        objects = [asdict(ending.result) for ending in endings]
        print(json_text.dumps(objects[0] if len(objects) == 1 else objects), flush=True)
    return not any(ending.broken for ending in endings)
