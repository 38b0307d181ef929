"""A small Django project, as an application would be written: a setting, two models, a few views."""
