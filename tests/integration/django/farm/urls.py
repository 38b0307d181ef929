"""Where the views are."""

from django.urls import path
from tests.integration.django.farm import views

urlpatterns = [path("herds", views.herds), path("herds-async", views.herds_async)]
