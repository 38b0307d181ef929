"""Addresses of health."""

from django.urls import path

from ifarm.health import apis, apis_medicines

routes = [
    path("animals/<uuid:animal_id>/health_records/", apis.HealthRecordsApi.as_view(), name="health-records"),
    path("animals/<uuid:animal_id>/health-checks/", apis.ChecksApi.as_view(), name="health-checks"),
    path("health_records/<uuid:check_id>/", apis.CheckApi.as_view(), name="health-record"),
    path("animals/<uuid:animal_id>/health/", apis.HealthApi.as_view(), name="animal-health"),
    path(
        "animals/<uuid:animal_id>/treatments/", apis.AnimalTreatmentsApi.as_view(), name="animal-treatments"
    ),
    path("groups/<uuid:group_id>/treatments/", apis.GroupTreatmentsApi.as_view(), name="group-treatments"),
    path("treatments/", apis.TreatmentsApi.as_view(), name="treatments"),
    path("treatments/<uuid:treatment_id>/", apis.TreatmentApi.as_view(), name="treatment"),
    path("treatments/<uuid:treatment_id>/doses/", apis.DosesApi.as_view(), name="doses"),
    path("doses/<uuid:dose_id>/", apis.DoseApi.as_view(), name="dose"),
    path("doses/<uuid:dose_id>/void/", apis.VoidDoseApi.as_view(), name="void-dose"),
    path("withdrawals/", apis.WithdrawalsApi.as_view(), name="withdrawals"),
    path("medicines/", apis_medicines.MedicinesApi.as_view(), name="medicines"),
    path("medicines/<uuid:medicine_id>/", apis_medicines.MedicineApi.as_view(), name="medicine"),
    path("medicine-purchases/", apis_medicines.PurchasesApi.as_view(), name="medicine-purchases"),
    path("medicine-batches/", apis_medicines.BatchesApi.as_view(), name="medicine-batches"),
    path("medicine-batches/<uuid:batch_id>/moves/", apis_medicines.MovesApi.as_view(), name="batch-moves"),
]
