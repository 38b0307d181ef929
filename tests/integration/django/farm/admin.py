"""The admin's pages."""

from django.contrib import admin
from tests.integration.django.farm.models import Animal, Herd

admin.site.register([Animal, Herd])
