"""What every route shares: the tenant's view, errors, pages, idempotency, OpenAPI. Apps' `apis.py` build on it."""
