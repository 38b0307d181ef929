"""Django on a cluster: ``ENGINE = "understudy.integrations.django.postgresql"``, and what belongs to it.

How to use it: `docs/how-to/django.md`. Nothing is imported here, so that settings may name these modules.
"""
