from django.db import migrations

# The one question that crosses tenants in a request: where does this person work? The function runs as its owner, who
# has BYPASSRLS; it tells nothing else.
MAKE = """
CREATE FUNCTION ifarm_tenants_of(person uuid) RETURNS TABLE (tenant_id uuid, name text, role text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS 'SELECT t.id, t.name, m.role FROM permissions_membership m JOIN tenants_tenant t ON t.id = m.tenant_id
    WHERE m.user_id = person AND m.is_active ORDER BY t.name, t.id'
"""


class Migration(migrations.Migration):
    dependencies = [("permissions", "0001_initial")]

    operations = [migrations.RunSQL(MAKE, "DROP FUNCTION ifarm_tenants_of(uuid)")]
