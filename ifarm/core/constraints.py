"""What keeps tenants apart in the database itself. Models get these by `TenantModel`; nobody names them by hand."""

from __future__ import annotations

from typing import Any

from django.db import models

from ifarm.core.context import SETTING


class _Written(models.BaseConstraint):
    """A constraint of plain statements, which the database alone checks."""

    def __init__(self, *, field: str, name: str) -> None:
        self.field = field
        super().__init__(name=name)

    def statements(self, model: Any, editor: Any) -> list[str]:
        """What makes it."""
        raise NotImplementedError

    def constraint_sql(self, model: Any, schema_editor: Any) -> None:
        """Part of CREATE TABLE: nothing; it follows once all tables of the migration are there."""
        schema_editor.deferred_sql.extend(self.statements(model, schema_editor))

    def create_sql(self, model: Any, schema_editor: Any) -> None:
        """Add it to a table that is there."""
        schema_editor.deferred_sql.extend(self.statements(model, schema_editor))

    def validate(self, model: Any, instance: Any, exclude: Any = None, using: str = "default") -> None:
        """Nothing: the database is asked by the statement itself."""

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """For migrations."""
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "field": self.field}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.deconstruct() == other.deconstruct()

    def __hash__(self) -> int:
        return hash((type(self), self.name, self.field))


class TenantIsolation(_Written):
    """Row-level security: only rows whose ``field`` is the tenant of the transaction, for reading and for writing.

    An error where none is set. Without an `OR`: it would take the tenant's index away. Work across tenants has a role
    of its own (BYPASSRLS). ``append_only``: rows can be read and added; nothing lets them be changed or deleted.
    """

    def __init__(self, *, field: str, name: str, append_only: bool = False) -> None:
        self.append_only = append_only
        super().__init__(field=field, name=name)

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """For migrations."""
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, **({"append_only": True} if self.append_only else {})}

    def statements(self, model: Any, editor: Any) -> list[str]:
        """ENABLE, FORCE (the owner too) and the policies."""
        return self.on(model._meta.db_table, model._meta.get_field(self.field).column, editor)

    def on(self, name_of_table: str, name_of_column: str, editor: Any) -> list[str]:
        """The same for a partition: a wall holds for the table that a statement names."""
        table, column = editor.quote_name(name_of_table), editor.quote_name(name_of_column)
        rule = f"{column} = current_setting('{SETTING}')::uuid"
        name, add = editor.quote_name(self.name), editor.quote_name(f"{self.name}_add")
        policies = [f"CREATE POLICY {name} ON {table} USING ({rule}) WITH CHECK ({rule})"]
        if self.append_only:
            policies = [
                f"CREATE POLICY {name} ON {table} FOR SELECT USING ({rule})",
                f"CREATE POLICY {add} ON {table} FOR INSERT WITH CHECK ({rule})",
            ]
        return [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            *policies,
        ]

    def remove_sql(self, model: Any, schema_editor: Any) -> str:
        """Back to an open table."""
        table = schema_editor.quote_name(model._meta.db_table)
        return (
            f"DROP POLICY {schema_editor.quote_name(self.name)} ON {table};"
            f" DROP POLICY IF EXISTS {schema_editor.quote_name(self.name + '_add')} ON {table};"
            f" ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"
        )


class SameTenant(_Written):
    """A foreign key of (tenant, ``field``): what is referred to belongs to the same tenant, whoever writes."""

    default_violation_error_message = "What it refers to is gone, or something still refers to it."

    def statements(self, model: Any, editor: Any) -> list[str]:
        """One deferrable foreign key, checked at commit as Django's own are."""
        field = model._meta.get_field(self.field)
        there = field.remote_field.model._meta
        quote = editor.quote_name
        return [
            f"ALTER TABLE {quote(model._meta.db_table)} ADD CONSTRAINT {quote(self.name)}"
            f" FOREIGN KEY ({quote('tenant_id')}, {quote(field.column)})"
            f" REFERENCES {quote(there.db_table)} ({quote('tenant_id')}, {quote(there.pk.column)})"
            " DEFERRABLE INITIALLY DEFERRED"
        ]

    def remove_sql(self, model: Any, schema_editor: Any) -> str:
        """Drop it, unless it went with the key it refers to."""
        quote = schema_editor.quote_name
        return f"ALTER TABLE {quote(model._meta.db_table)} DROP CONSTRAINT IF EXISTS {quote(self.name)}"


class NoOverlap(_Written):
    """Rows with the same ``same`` columns do not overlap in time: [``start``, ``end``), open where ``end`` is NULL.

    Made of range types over one value (`core` migration 0002) instead of the extension btree_gist, which not every
    server has.
    """

    def __init__(self, *, same: tuple[str, ...], start: str, end: str, name: str, message: str) -> None:
        self.same, self.start, self.end = tuple(same), start, end
        super().__init__(field=start, name=name)
        self.violation_error_message = message

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """For migrations."""
        path, args, kwargs = super().deconstruct()
        kwargs.pop("field")
        message = kwargs.pop("violation_error_message", "")
        own = {"same": self.same, "start": self.start, "end": self.end, "message": message}
        return path, args, {**kwargs, **own}

    def statements(self, model: Any, editor: Any) -> list[str]:
        """One exclusion constraint."""
        quote, fields = editor.quote_name, model._meta
        same = []
        for name in self.same:
            column = quote(fields.get_field(name).column)
            kind = "text_range" if fields.get_field(name).get_internal_type() == "CharField" else "uuid_range"
            same.append(f"{kind}({column}, {column}, '[]') WITH &&")
        times = f"{quote(fields.get_field(self.start).column)}, {quote(fields.get_field(self.end).column)}"
        kind = "daterange" if fields.get_field(self.start).get_internal_type() == "DateField" else "tstzrange"
        return [
            f"ALTER TABLE {quote(fields.db_table)} ADD CONSTRAINT {quote(self.name)}"
            f" EXCLUDE USING gist ({', '.join(same)}, {kind}({times}) WITH &&)"
        ]

    def remove_sql(self, model: Any, schema_editor: Any) -> str:
        """Drop it."""
        quote = schema_editor.quote_name
        return f"ALTER TABLE {quote(model._meta.db_table)} DROP CONSTRAINT {quote(self.name)}"


class TenantKey(models.UniqueConstraint):
    """Unique (tenant, id): what `SameTenant` refers to, and the index of the tenant's rows. Never asked in Python."""

    def validate(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the key is random."""

    def remove_sql(self, model: Any, schema_editor: Any) -> str:
        """Drop it with all that refers to it: on the way back, a table's key goes before the references to it."""
        quote = schema_editor.quote_name
        return f"ALTER TABLE {quote(model._meta.db_table)} DROP CONSTRAINT {quote(self.name)} CASCADE"
