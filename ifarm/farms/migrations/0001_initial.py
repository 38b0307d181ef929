import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
import ifarm.core.constraints
import ifarm.core.context
import ifarm.core.ids
import ifarm.core.models
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Farm",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                ("name", models.CharField(max_length=120)),
                ("holding_number", models.CharField(blank=True, default="", max_length=40)),
                ("timezone", models.CharField(default="UTC", max_length=40)),
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
                "constraints": [
                    models.UniqueConstraint(
                        models.F("tenant"),
                        django.db.models.functions.text.Lower("name"),
                        name="farm_names_differ",
                        violation_error_message="There is a farm of this name already.",
                    ),
                    ifarm.core.constraints.TenantKey(fields=("tenant", "id"), name="farms_farm_tenant_key"),
                    ifarm.core.constraints.TenantIsolation(field="tenant", name="farms_farm_isolation"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Paddock",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                ("name", models.CharField(max_length=80)),
                ("area_ha", models.DecimalField(blank=True, decimal_places=2, max_digits=9, null=True)),
                (
                    "farm",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="paddocks",
                        to="farms.farm",
                    ),
                ),
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
                "constraints": [
                    models.UniqueConstraint(
                        models.F("farm"),
                        django.db.models.functions.text.Lower("name"),
                        name="paddock_names_differ",
                        violation_error_message="This farm has a paddock of this name already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("area_ha__gt", 0)), name="paddock_area_positive"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="farms_paddock_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(field="tenant", name="farms_paddock_isolation"),
                    ifarm.core.constraints.SameTenant(field="farm", name="farms_paddock_farm_same_tenant"),
                ],
            },
        ),
    ]
