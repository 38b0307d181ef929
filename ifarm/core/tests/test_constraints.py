"""Each constraint of the database has words for whoever meets it, or a reason why no request can."""

from __future__ import annotations

from typing import Any, Final

import pytest
from django.db import IntegrityError, connection, transaction

from ifarm.animals.tests.examples import make_animal
from ifarm.api.problems import as_problem, words_of
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_owner
from ifarm.farms.services import create_farm

pytestmark = pytest.mark.django_db

CATALOGUE: Final = """
SELECT t.relname, c.conname, c.contype::text FROM pg_constraint c
JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname = 'public' AND c.contype IN ('c', 'u', 'x', 'f', 'p') AND NOT t.relispartition
UNION ALL
SELECT t.relname, i.relname, 'u' FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname = 'public' AND x.indisunique AND NOT t.relispartition
    AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = x.indexrelid)
ORDER BY 1, 2
"""
OTHERS: Final = ("account_", "auth_", "django_", "mfa_", "users_")
"""Tables of allauth and Django, whose forms ask before they write."""

_COUNTED = "the number is taken under an advisory lock"
_JOB = "a job writes it, no request"
_MAPPED = "made from a mapping, one entry each, under the lock of the row it belongs to"
_NUMBERED = "numbered by the service, all rows of the parent at once"
_RANDOM = "a digest of 256 random bits"
_UPSERT = "written by INSERT … ON CONFLICT DO UPDATE"
UNREACHABLE: Final = {
    "breed_codes_of_icar": "migrations fill the catalogue of breeds",
    "one_code_per_breed": "migrations fill the catalogue of breeds",
    "one_fraction_per_breed": _MAPPED,
    "one_parent_per_role": "looked for under the lock of the pedigree",
    "one_archive_per_month": _JOB,
    "one_due_event_per_kind": "made anew under the lock of the animal",
    "due_after_its_anchor": "days are counted forward from the anchor",
    "one_answer_per_key": "looked for under the advisory lock of the key",
    "one_device_per_token": "each device gets a token of its own",
    "import_done_within_total": "counted row by row under the lock of the import",
    "one_import_row_per_line": _NUMBERED,
    "one_expense_line_per_position": _NUMBERED,
    "one_invoice_line_per_position": _NUMBERED,
    "one_sale_line_per_movement": "each line makes a movement of its own",
    "one_purchase_line_per_movement": "each line makes a movement of its own",
    "invoice_numbers_differ": _COUNTED,
    "invoice_adds_up": "gross is computed as the sum",
    "one_period_per_species_and_product": _MAPPED,
    "one_clock_per_product": "one clock for each product of the species, when the treatment is made",
    "no_move_below_nothing": "`stock_never_below_nothing` speaks of the same number, and the service before both",
    "withdrawal_ends_after_begin": "days are counted forward from the first dose",
    "ready_media_have_a_path": "a file is made ready with its path",
    "told_once_per_key": "whoever comes second is given the first one's row",
    "sent_notifications_have_a_time": _JOB,
    "one_access_per_farm": _MAPPED,
    "permissions_invitation_digest_key": _RANDOM,
    "permissions_apitoken_digest_key": _RANDOM,
    "one_summary_per_day": _UPSERT,
    "one_mark_per_day": _UPSERT,
    "what_runs_has_a_plan": "the service sets them together, under the lock of the subscription",
    "one_charge_per_period": _JOB,
    "charge_amount_positive": _JOB,
    "charge_paid_once_it_succeeded": "set together, under the lock of the charge",
    "one_invoice_per_charge": "made once the charge succeeded, under its lock",
    "subscription_invoice_numbers_differ": _COUNTED,
    "one_notice_per_milestone": _JOB,
    "one_effect_per_event": "looked for under the lock of the charge",
    "one_value_per_hour": _JOB,
    "one_commit_per_number": "triggers count, under the lock of the tenant's counter",
    "one_note_per_object": "triggers write it by INSERT … ON CONFLICT",
    "one_answer_per_operation": "looked for under the advisory lock of who pushes",
}


def catalogue() -> list[tuple[str, str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(CATALOGUE)
        rows: list[tuple[str, str, str]] = cursor.fetchall()
    return [row for row in rows if not row[0].startswith(OTHERS)]


def test_every_constraint_has_words_or_a_reason() -> None:
    """A foreign key has those of all foreign keys."""
    found = catalogue()
    assert len(found) > 300
    silent = {name for _, name, kind in found if kind != "f" and words_of(name) is None}
    assert sorted(silent - UNREACHABLE.keys()) == []  # give it a `violation_error_message`
    assert sorted(UNREACHABLE.keys() - silent) == []  # gone, or it has words by now


def refused(text: str, *parameters: Any) -> tuple[int, str, str]:
    with pytest.raises(IntegrityError) as error, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(text, parameters)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    problem = as_problem(error.value)
    assert problem is not None
    return problem.status, problem.extra["constraint"], problem.detail


def test_whoever_meets_one_is_told_in_words() -> None:
    """One of each kind, as the database refuses it."""
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        farm = create_farm(owner, name="Hill")
        animal = make_animal(owner, farm.id, "AT 1")
        again = "INSERT INTO farms_farm SELECT (jsonb_populate_record(f, %s::jsonb)).* FROM farms_farm f WHERE id = %s"
        assert refused(again, '{"name": "Vale"}', farm.id)[:2] == (409, "farms_farm_pkey")
        told = refused("UPDATE farms_farm SET version = -1 WHERE id = %s", farm.id)
        assert told == (409, "farms_farm_version_check", "Expected version of nothing or more.")
        told = refused("DELETE FROM farms_farm WHERE id = %s", farm.id)
        assert told[::2] == (409, "What it refers to is gone, or something still refers to it.")
        told = refused("UPDATE animals_animal SET breed_id = gen_random_uuid() WHERE id = %s", animal)
        assert told[::2] == (409, "What it refers to is gone, or something still refers to it.")


def test_what_should_never_be_met_is_a_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(IntegrityError) as error, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE silent (n int CONSTRAINT says_nothing CHECK (n > 0))")
        cursor.execute("INSERT INTO silent VALUES (0)")
    assert as_problem(error.value) is None
    assert "constraint says_nothing was violated and has no words for it" in caplog.text
