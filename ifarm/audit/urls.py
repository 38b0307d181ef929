"""Addresses of the audit."""

from django.urls import path

from ifarm.audit import apis

routes = [
    path("audit/", apis.EntriesApi.as_view(), name="audit"),
    path("audit/archives/", apis.ArchivesApi.as_view(), name="audit-archives"),
    path(
        "audit/archives/<uuid:archive_id>/download/", apis.ArchiveDownloadApi.as_view(), name="audit-download"
    ),
]
