from django.db import migrations

# What the services say about expenses and invoices, said again where nobody gets past it: not another program, not
# somebody with psql, not the owner of the tables. Rows that logical replication brings are not asked again (triggers of
# the kind ORIGIN do not fire for them): they were asked where they were written.
#
# New columns of an expense or an invoice are frozen by default: what may change is named, not what may not.
MAKE = [
    """
CREATE FUNCTION ifarm_refused(rule text, words text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', words USING ERRCODE = 'check_violation', CONSTRAINT = rule;
END $$
""",
    """
CREATE FUNCTION ifarm_expense_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    steps text[] := ARRAY['status', 'version', 'modified_at', 'paid_on'];
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'draft' THEN
            PERFORM ifarm_refused('expense_begins_as_a_draft', 'an expense begins as a draft');
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' THEN
        IF OLD.status <> 'draft' THEN
            PERFORM ifarm_refused('expense_frozen', 'only a draft of an expense can be deleted');
        END IF;
        RETURN OLD;
    END IF;
    IF OLD.status = 'paid' AND NEW IS DISTINCT FROM OLD THEN
        PERFORM ifarm_refused('expense_frozen', 'an expense that was paid does not change');
    END IF;
    IF NEW.status <> OLD.status AND OLD.status || '>' || NEW.status NOT IN (
        'draft>submitted', 'submitted>approved', 'submitted>rejected', 'submitted>draft', 'rejected>draft', 'approved>paid'
    ) THEN
        PERFORM ifarm_refused('expense_step', OLD.status || ' does not lead to ' || NEW.status);
    END IF;
    IF OLD.status <> 'approved' THEN
        steps := steps || ARRAY['submitted_by', 'submitted_at', 'decided_by', 'decided_at'];
    END IF;
    IF OLD.status <> 'draft' AND to_jsonb(NEW) - steps <> to_jsonb(OLD) - steps THEN
        PERFORM ifarm_refused('expense_frozen', 'only a draft of an expense can be changed');
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE FUNCTION ifarm_expense_parts_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    part jsonb;
    parent uuid;
    found text;
BEGIN
    FOREACH part IN ARRAY ARRAY[to_jsonb(OLD), to_jsonb(NEW)] LOOP
        CONTINUE WHEN part IS NULL;
        IF TG_TABLE_NAME = 'financial_expenseline' THEN
            parent := (part ->> 'expense_id')::uuid;
        ELSE
            SELECT expense_id INTO parent FROM financial_expenseline WHERE id = (part ->> 'line_id')::uuid;
        END IF;
        -- Waits for somebody who submits it at this moment, and then sees that it is no draft any more.
        SELECT status INTO found FROM financial_expense WHERE id = parent FOR SHARE;
        IF found IS DISTINCT FROM 'draft' THEN
            PERFORM ifarm_refused('expense_frozen', 'lines belong to a draft of an expense');
        END IF;
    END LOOP;
    RETURN coalesce(NEW, OLD);
END $$
""",
    """
CREATE FUNCTION ifarm_invoice_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    steps text[] := ARRAY['status', 'paid_amount', 'version', 'modified_at'];
BEGIN
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - steps <> to_jsonb(OLD) - steps THEN
        PERFORM ifarm_refused('invoice_frozen', 'an invoice is credited, never changed or deleted');
    END IF;
    IF NEW.paid_amount < OLD.paid_amount THEN
        PERFORM ifarm_refused('invoice_frozen', 'what was paid for an invoice does not become less');
    END IF;
    RETURN NEW;
END $$
""",
    "CREATE TRIGGER expense_guard BEFORE INSERT OR UPDATE OR DELETE ON financial_expense"
    " FOR EACH ROW EXECUTE FUNCTION ifarm_expense_guard()",
    "CREATE TRIGGER expense_line_guard BEFORE INSERT OR UPDATE OR DELETE ON financial_expenseline"
    " FOR EACH ROW EXECUTE FUNCTION ifarm_expense_parts_guard()",
    "CREATE TRIGGER expense_allocation_guard BEFORE INSERT OR UPDATE OR DELETE ON financial_expenseallocation"
    " FOR EACH ROW EXECUTE FUNCTION ifarm_expense_parts_guard()",
    "CREATE TRIGGER invoice_guard BEFORE UPDATE OR DELETE ON financial_invoice"
    " FOR EACH ROW EXECUTE FUNCTION ifarm_invoice_guard()",
]
DROP = [
    "DROP TRIGGER invoice_guard ON financial_invoice",
    "DROP TRIGGER expense_allocation_guard ON financial_expenseallocation",
    "DROP TRIGGER expense_line_guard ON financial_expenseline",
    "DROP TRIGGER expense_guard ON financial_expense",
    "DROP FUNCTION ifarm_invoice_guard()",
    "DROP FUNCTION ifarm_expense_parts_guard()",
    "DROP FUNCTION ifarm_expense_guard()",
    "DROP FUNCTION ifarm_refused(text, text)",
]


class Migration(migrations.Migration):
    dependencies = [("financial", "0001_initial")]

    operations = [migrations.RunSQL(MAKE, DROP)]
