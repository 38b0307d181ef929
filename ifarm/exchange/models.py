"""Imports: each file a job, each of its rows a row; and where animals came from."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from ifarm.animals.models import Animal
from ifarm.core.choices import choices
from ifarm.core.models import TenantForeignKey, TenantModel
from ifarm.exchange.words import OPEN, FileType, JobState, Kind, RowState


class ImportJob(TenantModel):
    """One file to be imported, and how far that is.

    Args:
        source: of rows that name none; with their ``source_id`` it makes a second import of them harmless.
        dry_run: everything is tried and nothing is kept.
        all_or_nothing: one row that cannot be written leaves all unwritten; else it costs itself only.
        created_by: the user's id; each chunk is written with the rights that the person has then.
        header: the names of the file's columns, in its order.
        rows_good: written, or (in a dry run) ready.
        tries: how often a worker began since the last chunk that was finished.
    """

    kind = models.CharField(max_length=9, choices=choices(Kind))
    file_type = models.CharField(max_length=4, choices=choices(FileType))
    file_name = models.CharField(max_length=120, blank=True, default="")
    written = models.CharField(max_length=80)
    size_bytes = models.PositiveIntegerField()
    source = models.CharField(max_length=60)
    dry_run = models.BooleanField(default=False)
    all_or_nothing = models.BooleanField(default=False)
    created_by = models.UUIDField()
    header = models.JSONField()
    state = models.CharField(max_length=7, choices=choices(JobState), default=JobState.WAITING.value)
    rows_total = models.PositiveIntegerField()
    rows_done = models.PositiveIntegerField(default=0)
    rows_good = models.PositiveIntegerField(default=0)
    rows_known = models.PositiveIntegerField(default=0)
    rows_duplicate = models.PositiveIntegerField(default=0)
    rows_bad = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)
    error_message = models.CharField(max_length=500, blank=True, default="")
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "import"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(rows_done__lte=models.F("rows_total")), name="import_done_within_total"
            ),
        ]
        indexes: ClassVar = [
            models.Index("tenant", "created_at", "id", name="imports_by_time"),
            models.Index("created_at", "id", name="imports_waiting", condition=models.Q(state__in=OPEN)),
        ]


class ImportRow(TenantModel):
    """One row of a file, as it was found, and what became of it.

    Args:
        number: its line in the file.
        position: its turn: parents come before their offspring.
        cells: the texts of its cells, in the order of the header.
        errors: [{column, detail, found}]
        object_id: what was written, or what was there already.
    """

    job = TenantForeignKey(ImportJob, models.CASCADE, related_name="rows", db_index=False)
    number = models.PositiveIntegerField()
    position = models.PositiveIntegerField()
    cells = models.JSONField()
    state = models.CharField(max_length=9, choices=choices(RowState), default=RowState.WAITING.value)
    errors = models.JSONField(default=list)
    object_id = models.UUIDField(null=True)

    class Meta:
        verbose_name = "row of an import"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "number"], name="one_import_row_per_line"),
        ]
        indexes: ClassVar = [
            models.Index(
                "job",
                "position",
                name="import_rows_waiting",
                condition=models.Q(state=RowState.WAITING.value),
            ),
        ]


class AnimalSource(TenantModel):
    """What another system calls an animal; records have ``source`` and ``source_id`` of their own.

    ``row_id`` is that system's name for it, the ``source_id`` of an imported row.
    """

    animal = TenantForeignKey(Animal, models.CASCADE, related_name="sources")
    source = models.CharField(max_length=60)
    row_id = models.CharField(max_length=120)

    class Meta:
        verbose_name = "source of an animal"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "source", "row_id"],
                name="one_animal_per_source_row",
                violation_error_message="An animal of this source and source_id is there already.",
            ),
        ]
