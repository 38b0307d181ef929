"""`switchover`, `failover`, `failback`, `pause`, `resume`: what a person asks of the agent."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import replace
from typing import Annotated

import typer

from understudy.cli.common import Cli, CliError, Exit, confirm, duration, leave, note, of, print_json, silence
from understudy.cli.follow import Following, Outcome
from understudy.cli.looking import look_at
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
        before = cli.state(witness).paused
        state = cli.update(witness, lambda now: None if now.paused is paused else replace(now, paused=paused))
        if before is not paused:
            cli.log(witness, state, word, f"automatic changes {word}")
            cli.ring()
    if cli.json:
        print_json({"ok": True, "cluster": state.cluster, "paused": paused, "changed": before is not paused})
    else:
        print(f"cluster {state.cluster}: {word}" + ("" if before is not paused else " already"))


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
    target = _target(state, target)
    if target == state.primary and state.plan is None:
        _say(cli, Outcome(True, Exit.OK, f"{target} is the primary already", state), seconds=0.0, steps=[])
        leave(Exit.OK)
    _require_agent(cli, witness)
    _ask(cli, state, kind, target, yes=yes, accept_loss=accept_loss)
    until = time.monotonic() + timeout
    if kind is RequestKind.SWITCHOVER:
        _wait_for_tidy(cli, witness, min(until, time.monotonic() + _TIDY_WAIT))
    request = Request(id=uuid.uuid4().hex[:12], kind=kind, target=target, accept_loss=accept_loss)
    newest = witness.events(cli.cluster.name, limit=1)
    following = Following(witness, cli.cluster, request, after=newest[-1].id if newest else 0)
    began = time.monotonic()
    placed = cli.update(witness, lambda now: _place(now, request))
    cli.log(witness, placed, "asked", f"{kind} to {target} was asked for")
    cli.ring()
    try:
        outcome = following.until(until)
    except KeyboardInterrupt:
        _withdraw(cli, witness, request)
        raise
    if outcome is None:
        outcome = _too_late(cli, witness, request, timeout)
    _say(cli, outcome, seconds=time.monotonic() - began, steps=following.steps)
    leave(outcome.code)


def _target(state: ClusterState, wanted: str | None) -> str:
    if wanted is None:
        return state.other
    names = [record.name for record in state.nodes]
    if wanted not in names:
        raise CliError(f"TARGET: expected one of {', '.join(names)}, found {wanted}", Exit.USAGE)
    return wanted


def _require_agent(cli: Cli, witness: SqliteWitness) -> None:
    """Nobody would carry an order out while no agent acts. Raises CliError."""
    silent = silence(witness.agent(cli.cluster.name))
    if silent is not None and silent < cli.cluster.policy.agent_takeover:
        return
    heard = "" if silent is None else f" (the last one was heard {duration(silent)} ago)"
    raise CliError(
        f"no agent acts for cluster {cli.cluster.name}{heard}; start one with `understudy run`", Exit.NO_AGENT
    )


def _place(now: ClusterState, request: Request) -> ClusterState:
    if now.request is not None:
        raise CliError(f"another order waits: {now.request.kind} to {now.request.target}", Exit.REFUSED)
    return replace(now, request=request, answer="")


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
