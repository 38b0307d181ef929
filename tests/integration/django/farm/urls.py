"""Where the views are."""

from django.contrib import admin
from django.urls import path
from tests.integration.django.farm import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("herds", views.herds),
    path("herds-async", views.herds_async),
]
