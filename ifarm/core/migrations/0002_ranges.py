from django.db import migrations

# A range of one value: `uuid_range(x, x, '[]') WITH &&` in an exclusion constraint means "the same x". It does what the
# extension btree_gist is used for elsewhere, on every server.
MAKE = [
    "CREATE TYPE uuid_range AS RANGE (SUBTYPE = uuid)",
    'CREATE TYPE text_range AS RANGE (SUBTYPE = text, COLLATION = "C")',
]


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]

    operations = [migrations.RunSQL(MAKE, ["DROP TYPE text_range", "DROP TYPE uuid_range"])]
