"""Imports are carried out in chunks: each is one transaction, so whoever dies in the middle has written it or not.

A chunk's job is locked (`SKIP LOCKED`) from looking for its next rows to saying what became of them. So two workers are
never at the same job at once, no claim needs a clock, and what a dead worker had begun is anybody's at once. A dry run,
and a job of all or nothing, is a single chunk, which is undone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone

from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.encoding import as_json
from ifarm.core.errors import NotAllowed, NotFound, Problem
from ifarm.core.events import record_event
from ifarm.exchange.cells import read_row
from ifarm.exchange.columns import COLUMNS
from ifarm.exchange.into_animals import write_animals
from ifarm.exchange.into_records import write_milk, write_movements, write_weights
from ifarm.exchange.models import ImportJob, ImportRow
from ifarm.exchange.outcomes import Given, Outcome, refused
from ifarm.exchange.policies import require_may_import
from ifarm.exchange.words import OPEN, JobState, Kind, RowState
from ifarm.permissions.services import actor_for, job_actor

CHUNK: Final = 500
"""Rows in one transaction, and in one request: well below a second of locks for animals."""
TRIES: Final = 5
"""A job that ends its worker this often without finishing a chunk is given up."""

Writer = Callable[[Actor, Sequence[Given]], list[Outcome]]
_WRITERS: Final[Mapping[Kind, Writer]] = {
    Kind.ANIMALS: write_animals,
    Kind.WEIGHTS: write_weights,
    Kind.MILK: write_milk,
    Kind.MOVEMENTS: write_movements,
}
_REFUSALS = (Problem, ValidationError, IntegrityError, DataError)
_log = logging.getLogger(__name__)


class _Undone(Exception):
    """Ends a transaction of which nothing shall be kept."""


def run_import(job_id: UUID) -> bool:
    """Carry a job out to its end, from wherever it is; False where another worker is at it, or it is over.

    As the owner of the tables: the job may be any tenant's. Any number of workers may run it, at any time.
    """
    tenant_id = ImportJob.objects.unscoped().filter(pk=job_id).values_list("tenant_id", flat=True).first()
    if tenant_id is None:
        return False
    with unit_of_work(tenant_id):
        if not _begin(job_id):
            return False
    while True:
        with unit_of_work(tenant_id):
            if not advance(job_id):
                return True


def run_waiting_imports(limit: int = 100) -> int:
    """Carry out the jobs of all tenants that wait or were left by a worker that died; how many. As the owner.

    One that cannot go on holds up no other: its fault is logged, and it is tried again, `TRIES` times in all.
    """
    rows = ImportJob.objects.unscoped().filter(state__in=OPEN).order_by("created_at", "id")
    done = 0
    for job_id in list(rows.values_list("id", flat=True)[:limit]):
        try:
            done += run_import(job_id)
        except Exception:  # noqa: BLE001 - recorded; one bad job must not hold up the others
            _log.exception("import %s ended its worker", job_id)
            connection.close()  # in whatever state it is
    return done


def _locked(job_id: UUID) -> ImportJob | None:
    rows = ImportJob.objects.select_for_update(skip_locked=True, of=("self",))
    found: ImportJob | None = rows.filter(pk=job_id, state__in=OPEN).first()
    return found


def _begin(job_id: UUID) -> bool:
    job = _locked(job_id)
    if job is None:
        return False
    if job.tries >= TRIES:
        _end(job, JobState.FAILED, f"expected to end, found {TRIES} workers that ended in the middle of it.")
        return False
    ImportJob.objects.filter(pk=job_id).update(tries=F("tries") + 1, state=JobState.RUNNING.value)
    return True


def advance(job_id: UUID) -> bool:
    """One chunk of a job, in the unit of work that is open; False: it is over, or another worker is at it."""
    job = _locked(job_id)
    if job is None:
        return False
    kind = Kind(job.kind)
    try:
        actor = actor_for(job.created_by)
        require_may_import(actor, kind)
    except (NotFound, NotAllowed) as problem:
        _end(job, JobState.FAILED, f"whoever began it may not do so any more: {problem.detail}")
        return False
    whole = job.dry_run or job.all_or_nothing
    rows = list(
        job.rows.filter(state=RowState.WAITING.value).order_by("position")[: None if whole else CHUNK]
    )
    outcomes = _carried_out(job, actor, rows)
    _keep(job, rows, outcomes)
    if job.rows_done < job.rows_total:
        return True
    _end(job, _end_state(job))
    return False


def _end_state(job: ImportJob) -> JobState:
    missing = job.rows_bad + job.rows_duplicate
    return JobState.REFUSED if job.all_or_nothing and missing and not job.dry_run else JobState.DONE


def _carried_out(job: ImportJob, actor: Actor, rows: Sequence[ImportRow]) -> list[Outcome]:
    """What becomes of the rows; of a dry run, and of a job of all or nothing that is not all good, nothing is kept."""
    columns = COLUMNS[Kind(job.kind)]
    given = []
    for row in rows:
        values, _ = read_row(columns, dict(zip(job.header, row.cells, strict=False)))
        given.append(Given(row, {"source": job.source, **values}))
    outcomes: list[Outcome] = []
    try:
        with transaction.atomic():
            outcomes = _written(_WRITERS[Kind(job.kind)], actor, given)
            good = all(one.state in (RowState.WRITTEN, RowState.KNOWN) for one in outcomes)
            if job.dry_run or (job.all_or_nothing and (job.rows_bad or job.rows_duplicate or not good)):
                raise _Undone
    except _Undone:
        return [Outcome(RowState.READY) if one.state is RowState.WRITTEN else one for one in outcomes]
    return outcomes


def _written(writer: Writer, actor: Actor, rows: Sequence[Given]) -> list[Outcome]:
    """All at once. Where the database refuses that (somebody else was faster), in halves, until it is one row's."""
    if not rows:
        return []
    try:
        with transaction.atomic():
            return writer(actor, rows)
    except _REFUSALS as refusal:
        if len(rows) == 1:
            return [refused(refusal)]
    middle = len(rows) // 2
    return [*_written(writer, actor, rows[:middle]), *_written(writer, actor, rows[middle:])]


def _keep(job: ImportJob, rows: Sequence[ImportRow], outcomes: Sequence[Outcome]) -> None:
    """Say what became of the rows, and how far the job is. The queue's own marks: not audited."""
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE exchange_importrow r SET state = v.state, errors = v.errors, object_id = v.object_id,"
                " modified_at = now() FROM jsonb_populate_recordset(NULL::exchange_importrow, %s::jsonb) v"
                " WHERE r.id = v.id AND r.tenant_id = %s",
                [
                    as_json(
                        [
                            {
                                "id": row.id,
                                "state": one.state.value,
                                "errors": [flaw.plain() for flaw in one.flaws],
                                "object_id": one.object_id,
                            }
                            for row, one in zip(rows, outcomes, strict=True)
                        ]
                    ),
                    job.tenant_id,
                ],
            )
    counts = Counter(one.state for one in outcomes)
    job.state, job.tries = JobState.RUNNING.value, 0
    job.rows_done += len(rows)
    job.rows_good += counts[RowState.WRITTEN] + counts[RowState.READY]
    job.rows_known += counts[RowState.KNOWN]
    job.rows_duplicate += counts[RowState.DUPLICATE]
    job.rows_bad += counts[RowState.BAD]
    job.modified_at = timezone.now()
    job.save()


def _end(job: ImportJob, state: JobState, error: str = "") -> None:
    changes: dict[str, Any] = {"state": state.value, "ended_at": timezone.now(), "error_message": error[:500]}
    writes.update(job_actor(job.tenant_id), job, changes)
    counts = {name: getattr(job, name) for name in ("rows_good", "rows_known", "rows_duplicate", "rows_bad")}
    record_event("import_ended", job, kind=job.kind, state=state.value, dry_run=job.dry_run, **counts)
