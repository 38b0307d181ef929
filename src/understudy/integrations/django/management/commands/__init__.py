"""Commands of ``manage.py``: `understudy`, and `migrate` for both nodes."""
