"""`switchover`, `failover`, `failback`, `pause`, `resume`: what a person asks of the agent."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import Annotated

import typer

from understudy.agent.looking import look_at
from understudy.cli.common import Cli, CliError, Exit, confirm, leave, note, of, print_json
from understudy.cli.follow import Following, Outcome
from understudy.decide.plans import CHANGES
from understudy.errors import UnderstudyError
from understudy.model import ClusterState, NodeView, Request, RequestKind, Role
from understudy.witness import SqliteWitness

_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds until this command gives up.")]
_Target = Annotated[str | None, typer.Argument(help="The next primary; the other node if left out.")]
_POLL = 0.05
_TIDY_WAIT = 15.0
"""Longest wait for the leftovers of the last change, so that two changes can be asked for in a row (seconds)."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("switchover")(switchover)
    app.command("failover")(failover)
    app.command("failback")(failback)
    app.command("pause")(pause)
    app.command("resume")(resume)


def switchover(
    context: typer.Context, target: _Target = None, yes: _Yes = False, timeout: _Timeout = 60.0
) -> None:
    """Change the primary as planned: writers wait for a moment, nothing is lost."""
    cli = of(context)
    with cli.witness() as witness:
        _change(cli, witness, RequestKind.SWITCHOVER, target, yes=yes, timeout=timeout)


def failback(context: typer.Context, yes: _Yes = False, timeout: _Timeout = 60.0) -> None:
    """A switchover to the preferred node."""
    cli = of(context)
    with cli.witness() as witness:
        home = cli.cluster.preferred.name
        _change(cli, witness, RequestKind.SWITCHOVER, home, yes=yes, timeout=timeout)


def failover(
    context: typer.Context,
    target: _Target = None,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Skip the gates on lag and in-sync; what is left is rescued."),
    ] = False,
    yes: _Yes = False,
    timeout: _Timeout = 60.0,
) -> None:
    """Change the primary although the present one is lost (or seems so)."""
    cli = of(context)
    with cli.witness() as witness:
        _change(cli, witness, RequestKind.FAILOVER, target, yes=yes, timeout=timeout, accept_loss=accept_loss)


def pause(context: typer.Context) -> None:
    """No automatic failover or failback until `resume`; orders of people are still carried out."""
    _pause(of(context), paused=True)


def resume(context: typer.Context) -> None:
    """Undo `pause`."""
    _pause(of(context), paused=False)


def _pause(cli: Cli, *, paused: bool) -> None:
    word = "paused" if paused else "resumed"
    with cli.witness() as witness:
        state, changed = cli.orders(witness).pause(paused=paused)
    if cli.json:
        print_json({"ok": True, "cluster": state.cluster, "paused": paused, "changed": changed})
    else:
        print(f"cluster {state.cluster}: {word}" + ("" if changed else " already"))


# --- a change of primary ------------------------------------------------------------------------------------------


def _change(
    cli: Cli,
    witness: SqliteWitness,
    kind: RequestKind,
    target: str | None,
    *,
    yes: bool,
    timeout: float,
    accept_loss: bool = False,
) -> None:
    """Ask, leave the order in the state, and follow it to its end."""
    state = cli.state(witness)
    orders = cli.orders(witness)
    target = orders.target(state, target)
    if target == state.primary and state.plan is None:
        _say(cli, Outcome(True, Exit.OK, f"{target} is the primary already", state), seconds=0.0, steps=[])
        leave(Exit.OK)
    orders.require_agent()
    _ask(cli, state, kind, target, yes=yes, accept_loss=accept_loss)
    until = time.monotonic() + timeout
    if kind is RequestKind.SWITCHOVER:
        _wait_for_tidy(cli, witness, min(until, time.monotonic() + _TIDY_WAIT))
    newest = witness.events(cli.cluster.name, limit=1)
    began = time.monotonic()
    request = orders.change(kind, target, accept_loss=accept_loss)
    following = Following(witness, cli.cluster, request, after=newest[-1].id if newest else 0)
    try:
        outcome = following.until(until)
    except KeyboardInterrupt:
        _withdraw(cli, witness, request)
        raise
    if outcome is None:
        outcome = _too_late(cli, witness, request, timeout)
    _say(cli, outcome, seconds=time.monotonic() - began, steps=following.steps)
    leave(outcome.code)


def _ask(
    cli: Cli, state: ClusterState, kind: RequestKind, target: str, *, yes: bool, accept_loss: bool
) -> None:
    """Say what will happen, and have it confirmed; a failover from a healthy primary twice."""
    if yes:
        return
    if kind is RequestKind.SWITCHOVER:
        confirm(f"{state.primary} -> {target}: writers wait for a moment, nothing is lost. Go on?", yes=False)
        return
    primary = asyncio.run(_look(cli, state))[state.primary]
    text = (
        f"{state.primary} -> {target}: calls in flight on {state.primary} are aborted, and it must rejoin. "
    )
    if accept_loss:
        text += f"What {target} lacks is kept in rescue files when {state.primary} returns, not merged. "
    if primary.up:
        note(f"{state.primary} answers. `understudy switchover` changes the primary without losing anything.")
    confirm(f"{text}Go on?", yes=False)
    if primary.up:
        confirm(f"{state.primary} is healthy. Really fail over?", yes=False)


async def _look(cli: Cli, state: ClusterState) -> dict[str, NodeView]:
    async with cli.engine() as engine:
        return await look_at(engine, [node.name for node in cli.cluster.nodes], epoch=state.epoch)


def _wait_for_tidy(cli: Cli, witness: SqliteWitness, until: float) -> None:
    """The leftovers of an earlier change are removed by the agent first; a request would be refused meanwhile."""
    told = False
    while time.monotonic() < until:
        state = cli.state(witness)
        if state.record(state.other).role is not Role.STANDBY:
            return
        repair = state.plan is not None and state.plan.kind not in CHANGES
        if not repair and state.spare_slot and not state.old_links:
            return
        if not told:
            note("waiting for the agent to tidy up after the last change ...")
            told = True
        time.sleep(_POLL)


def _withdraw(cli: Cli, witness: SqliteWitness, request: Request) -> bool:
    """Take the order back if nobody has begun it. Returns whether it was still there."""
    there = False

    def remove(now: ClusterState) -> ClusterState | None:
        nonlocal there
        there = now.request is not None and now.request.id == request.id
        return replace(now, request=None, answer=f"{request.id}: withdrawn") if there else None

    with contextlib.suppress(UnderstudyError):
        cli.update(witness, remove)
    return there


def _too_late(cli: Cli, witness: SqliteWitness, request: Request, timeout: float) -> Outcome:
    if _withdraw(cli, witness, request):
        text = f"no agent answered within {timeout:g} s; the order was withdrawn, nothing was changed"
        return Outcome(False, Exit.NO_AGENT, text, cli.state(witness))
    text = f"not finished within {timeout:g} s; the agent goes on: `understudy status`"
    return Outcome(False, Exit.UNREACHABLE, text, cli.state(witness))


def _say(cli: Cli, outcome: Outcome, *, seconds: float, steps: list[dict[str, object]]) -> None:
    """The end of the story: on stdout when it went well, on stderr when it did not."""
    state = outcome.state
    if cli.json:
        print_json(
            {
                "ok": outcome.ok,
                "message": outcome.text,
                "cluster": state.cluster,
                "primary": state.primary,
                "epoch": state.epoch,
                "seconds": seconds,
                "steps": steps,
            }
        )
    if not outcome.ok:
        raise CliError(outcome.text, outcome.code)
    if not cli.json:
        print(outcome.text)
