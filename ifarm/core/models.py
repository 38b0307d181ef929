"""What every table of a tenant has, and the tables that the write path itself needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models.base import ModelBase
from django.utils import timezone

from ifarm.core.constraints import SameTenant, TenantIsolation, TenantKey
from ifarm.core.context import current_tenant
from ifarm.core.ids import uuid7

NAME = "%(app_label)s_%(class)s_"


class TenantForeignKey(models.ForeignKey):
    """A reference to a row of the same tenant. The database checks it together with the tenant (`SameTenant`)."""

    def __init__(self, to: Any, on_delete: Any = models.PROTECT, **kwargs: Any) -> None:
        super().__init__(to, on_delete, **{**kwargs, "db_constraint": False})

    if TYPE_CHECKING:  # Django brings no types: the row that is referred to is Any

        def __get__(self, instance: object, owner: object = None) -> Any: ...
        def __set__(self, instance: object, value: object) -> None: ...


class _WithWalls(ModelBase):
    """Adds the walls between tenants to every model, so that no model can be without.

    A reference has no index of its own where another begins with it: each costs every write.
    """

    def __new__(mcs, name: str, bases: tuple[type, ...], attrs: dict[str, Any], **kwargs: Any) -> Any:
        meta = attrs.get("Meta")
        if meta is None or not getattr(meta, "abstract", False):
            walls: list[Any] = [
                TenantKey(fields=["tenant", "id"], name=NAME + "tenant_key"),
                TenantIsolation(
                    field="tenant", name=NAME + "isolation", append_only=bool(attrs.get("append_only"))
                ),
            ]
            fields = {**_abstract_fields(bases), **attrs}
            walls += [
                SameTenant(field=key, name=NAME + key + "_same_tenant")
                for key, value in fields.items()
                if isinstance(value, TenantForeignKey)
            ]
            if {"source", "source_id"} <= fields.keys():
                walls.append(_one_per_source())
            given = list(getattr(meta, "constraints", []))
            led = _led([*getattr(meta, "indexes", []), *given])
            for key, value in attrs.items():
                if isinstance(value, TenantForeignKey) and key in led:
                    value.db_index = False
            attrs["Meta"] = type("Meta", (meta,) if meta else (), {"constraints": [*given, *walls]})
        return super().__new__(mcs, name, bases, attrs, **kwargs)


def _led(indexes: list[Any]) -> set[str]:
    """The fields that an index over all rows begins with."""
    whole = [
        one
        for one in indexes
        if isinstance(one, models.Index | models.UniqueConstraint) and not one.condition
    ]
    first = [one.fields[0] if one.fields else one.expressions[0] for one in whole]
    return {getattr(one, "name", one) for one in first}


def _one_per_source() -> models.UniqueConstraint:
    return models.UniqueConstraint(
        fields=["tenant", "source", "source_id"],
        condition=~models.Q(source_id=""),
        name=NAME + "one_per_source",
        violation_error_message="A record with this source and source_id is there already.",
    )


def _abstract_fields(bases: tuple[type, ...]) -> dict[str, Any]:
    metas = [base._meta for base in bases if isinstance(base, ModelBase) and hasattr(base, "_meta")]
    return {field.name: field for meta in metas for field in meta.local_fields}


class TenantManager(models.Manager):
    """Rows of the present tenant; an error without one."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """Raises `NoTenant`."""
        return super().get_queryset().filter(tenant_id=current_tenant())

    def unscoped(self) -> models.QuerySet[Any]:
        """Rows of all tenants, for jobs with the owner's role. The application's role is refused them."""
        return super().get_queryset()


class TenantModel(models.Model, metaclass=_WithWalls):
    """A row of one tenant: its key, its tenant (taken from the context) and when it was made and changed.

    ``append_only = True`` in a model: the application can add rows, never change or delete them.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        "tenants.Tenant",
        models.PROTECT,
        default=current_tenant,
        editable=False,
        related_name="+",
        db_index=False,  # (tenant, id) is one
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    modified_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = TenantManager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self._meta.model_name} {self.id}"


class VersionedModel(TenantModel):
    """A row that people edit: each change counts ``version`` up, and an editor names the one it has seen."""

    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        abstract = True


class RecordModel(VersionedModel):
    """Something that was recorded about an animal, perhaps elsewhere: where ``source_id`` is set, it is there once.

    Whoever brings it a second time (import, sync, a device) gets a conflict, or finds the first by (``source``,
    ``source_id``), which is unique in its table for each tenant. Source: the meta data of each event in ICAR ADE
    (`source`, `sourceId`).
    """

    source = models.CharField(max_length=60, blank=True, default="")
    source_id = models.CharField(max_length=120, blank=True, default="")

    class Meta:
        abstract = True


class OutboxEvent(TenantModel):
    """Something that happened, in the transaction in which it did; whoever publishes marks it.

    The service holds the aggregate's row lock, so the events of one aggregate are in the order of their commits.
    """

    type = models.CharField(max_length=60)
    schema_version = models.PositiveSmallIntegerField(default=1)
    aggregate = models.CharField(max_length=60)
    aggregate_id = models.UUIDField()
    aggregate_version = models.PositiveIntegerField()
    payload = models.JSONField()
    occurred_at = models.DateTimeField(default=timezone.now)
    traceparent = models.CharField(max_length=55, blank=True, default="")
    published_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index("id", name="outbox_waiting", condition=models.Q(published_at=None)),
        ]


class IdempotencyRecord(TenantModel):
    """The answer that a request with an `Idempotency-Key` was given, stored with its effect."""

    actor_id = models.UUIDField()
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    body = models.JSONField(null=True)
    headers = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "actor_id", "key"], name="one_answer_per_key"),
        ]


class Tombstone(TenantModel):
    """A row that is gone: what an offline client must forget."""

    model = models.CharField(max_length=60)
    object_id = models.UUIDField()
    version = models.PositiveIntegerField()

    class Meta:
        indexes = [models.Index("tenant", "created_at", name="tombstones_by_time")]

    @classmethod
    def of(cls, row: TenantModel) -> Self:
        """For a row that is about to go."""
        return cls(model=row._meta.label_lower, object_id=row.id, version=getattr(row, "version", 1))
