"""Routes of imports and exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Final
from uuid import UUID

from django.db.models import QuerySet
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from rest_framework.parsers import MultiPartParser

from ifarm.animals.policies import ANIMALS, WEIGHTS
from ifarm.api.openapi import OperationSchema
from ifarm.api.pages import Order
from ifarm.api.parameters import narrowed
from ifarm.api.views import Operation, TenantView, operation
from ifarm.exchange import exports, selectors, services
from ifarm.exchange.columns import COLUMNS
from ifarm.exchange.filters import (
    AnimalExportFilters,
    FileFilters,
    ImportFilters,
    MilkExportFilters,
    RowFilters,
    WeightExportFilters,
)
from ifarm.exchange.models import ImportJob, ImportRow
from ifarm.exchange.policies import IMPORTS, access_import
from ifarm.exchange.serializers import ImportInput, ImportOutput, ImportRowOutput
from ifarm.exchange.words import CONTENT_TYPES, FileType, Kind
from ifarm.exchange.writing import Row, table, template
from ifarm.production.policies import PRODUCTIONS


class ImportsApi(TenantView):
    """All imports."""

    parser_classes = (MultiPartParser,)

    @operation(
        IMPORTS, "view", output=ImportOutput, order=Order(ImportJob, "created_at"), filters=ImportFilters
    )
    def get(self) -> QuerySet[ImportJob]:
        """Imports and how far they are."""
        return selectors.list_imports(self.actor)

    @operation(IMPORTS, "add", input=ImportInput, output=ImportOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> ImportJob:
        """Send a file. A small one is done with the answer; else look again at the import until it is."""
        file = data["file"]
        given = {**data, "kind": Kind(data["kind"]), "body": file.read(), "file_name": file.name}
        del given["file"]
        return services.start_import(self.actor, **given)


class ImportApi(TenantView):
    """One import."""

    @operation(IMPORTS, "view", output=ImportOutput)
    def get(self, import_id: UUID) -> ImportJob:
        """How far it is."""
        return access_import(self.actor, import_id)


class ImportRowsApi(TenantView):
    """The rows of an import."""

    @operation(IMPORTS, "view", output=ImportRowOutput, order=Order(ImportRow, "number"), filters=RowFilters)
    def get(self, import_id: UUID) -> QuerySet[ImportRow]:
        """What became of each."""
        return selectors.list_rows(self.actor, import_id)


class FileSchema(OperationSchema):
    """The answer is a file."""

    def get_response_serializers(self) -> Any:
        """Of either type."""
        told = super().get_response_serializers()
        told.pop(204)
        return {**{(200, kind): OpenApiTypes.BINARY for kind in CONTENT_TYPES.values()}, **told}


class FileView(TenantView):
    """A view that answers with a file: its handler gives the answer itself."""

    schema = FileSchema()

    def _told(self, declared: Operation, found: Any) -> Any:
        return found

    def filtered(self, filters: type[FileFilters], rows: QuerySet[Any] | None = None) -> tuple[Any, FileType]:
        """The rows that the query asks for, and as what. Raises `Invalid`."""
        chosen = narrowed(self.parameters, filters, ImportJob.objects.none() if rows is None else rows)
        return chosen.qs, chosen.file_type


def _answer(file: IO[bytes], name: str, file_type: FileType) -> FileResponse:
    return FileResponse(
        file,
        as_attachment=True,
        filename=f"{name}.{file_type.value}",
        content_type=CONTENT_TYPES[file_type],
        headers={"Cache-Control": "private, no-store"},
    )


class ImportErrorsApi(FileView):
    """What was wrong, as a table."""

    @operation(IMPORTS, "view", filters=FileFilters)
    def get(self, import_id: UUID) -> FileResponse:
        """A line for each flaw: row, column, what was expected, what was found."""
        _, file_type = self.filtered(FileFilters)
        rows = selectors.error_rows(self.actor, import_id)
        return _answer(table(selectors.ERROR_COLUMNS, rows, file_type, "errors"), "errors", file_type)


class TemplateApi(FileView):
    """An empty table to fill in."""

    kind: Kind = Kind.ANIMALS

    @operation(IMPORTS, "view", filters=FileFilters)
    def get(self) -> FileResponse:
        """Its header and an example; in Excel also what each column means."""
        _, file_type = self.filtered(FileFilters)
        return _answer(template(self.kind, file_type), self.kind.value, file_type)


Rows = Callable[[QuerySet[Any]], Iterator[Row]]


class ExportView(FileView):
    """What is there, with the columns of an import."""

    def export(
        self, kind: Kind, filters: type[FileFilters], found: QuerySet[Any], rows: Rows
    ) -> FileResponse:
        """The file. It is whole, or an error: nothing is sent before its end is read."""
        chosen, file_type = self.filtered(filters, found)
        columns = [column.name for column in COLUMNS[kind]]
        return _answer(table(columns, rows(chosen), file_type, kind.value), kind.value, file_type)


class AnimalsExportApi(ExportView):
    """The herd as a table."""

    @operation(ANIMALS, "view", filters=AnimalExportFilters)
    def get(self) -> FileResponse:
        """Animals of the actor's farms."""
        found = exports.animals_to_export(self.actor)
        return self.export(Kind.ANIMALS, AnimalExportFilters, found, exports.animal_rows)


class WeightsExportApi(ExportView):
    """Weights as a table."""

    @operation(WEIGHTS, "view", filters=WeightExportFilters)
    def get(self) -> FileResponse:
        """Weights of the actor's animals."""
        found = exports.weights_to_export(self.actor)
        return self.export(Kind.WEIGHTS, WeightExportFilters, found, exports.weight_rows)


class MilkExportApi(ExportView):
    """Milkings as a table."""

    @operation(PRODUCTIONS, "view", filters=MilkExportFilters)
    def get(self) -> FileResponse:
        """Milkings of the actor's farms."""
        found = exports.milk_to_export(self.actor)
        return self.export(Kind.MILK, MilkExportFilters, found, exports.milk_rows)


TEMPLATES: Final = {kind: TemplateApi.as_view(kind=kind) for kind in Kind}
