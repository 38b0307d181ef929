"""A herd has animals."""

from django.db import models


class Herd(models.Model):
    name = models.CharField(max_length=50, unique=True)


class Animal(models.Model):
    herd = models.ForeignKey(Herd, on_delete=models.CASCADE, related_name="animals")
    name = models.CharField(max_length=50)
    born = models.DateTimeField(null=True)
    notes = models.JSONField(default=dict)
