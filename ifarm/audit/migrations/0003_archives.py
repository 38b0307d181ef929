import django.db.models.deletion
import django.utils.timezone
import ifarm.core.constraints
import ifarm.core.context
import ifarm.core.ids
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0002_months"),
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditArchive",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("month", models.DateField()),
                ("entries", models.PositiveIntegerField()),
                ("size_bytes", models.BigIntegerField()),
                ("sha256", models.CharField(max_length=64)),
                ("path", models.CharField(max_length=100)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=ifarm.core.context.current_tenant,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "audit archive",
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "month"), name="one_archive_per_month"),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="audit_auditarchive_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="audit_auditarchive_isolation"
                    ),
                ],
            },
        ),
    ]
