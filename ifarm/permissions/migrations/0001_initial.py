import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import ifarm.core.constraints
import ifarm.core.context
import ifarm.core.ids
import ifarm.core.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("farms", "0001_initial"),
        ("tenants", "0001_initial"),
        ("users", "__first__"),
    ]

    operations = [
        migrations.CreateModel(
            name="Membership",
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
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("owner", "owner"),
                            ("manager", "manager"),
                            ("worker", "worker"),
                            ("vet", "vet"),
                            ("accountant", "accountant"),
                            ("read_only", "read only"),
                        ],
                        max_length=12,
                    ),
                ),
                ("all_farms", models.BooleanField(default=False)),
                ("is_active", models.BooleanField(default=True)),
                ("generation", models.PositiveIntegerField(default=1, editable=False)),
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
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "user"),
                        name="one_membership_per_person",
                        violation_error_message="This person is a member already.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="permissions_membership_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="permissions_membership_isolation"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="FarmAccess",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "farm",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
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
                (
                    "membership",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="farm_accesses",
                        to="permissions.membership",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("membership", "farm"), name="one_access_per_farm"),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="permissions_farmaccess_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="permissions_farmaccess_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="membership", name="permissions_farmaccess_membership_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="farm", name="permissions_farmaccess_farm_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ApiToken",
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
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
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
                (
                    "membership",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tokens",
                        to="permissions.membership",
                    ),
                ),
            ],
            options={
                "verbose_name": "token",
                "constraints": [
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="permissions_apitoken_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="permissions_apitoken_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="membership", name="permissions_apitoken_membership_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Invitation",
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
                ("email", models.EmailField(max_length=254)),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("owner", "owner"),
                            ("manager", "manager"),
                            ("worker", "worker"),
                            ("vet", "vet"),
                            ("accountant", "accountant"),
                            ("read_only", "read only"),
                        ],
                        max_length=12,
                    ),
                ),
                ("all_farms", models.BooleanField(default=False)),
                (
                    "farm_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), blank=True, default=list, size=None
                    ),
                ),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                ("expires_at", models.DateTimeField()),
                ("accepted_at", models.DateTimeField(blank=True, null=True)),
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
                        condition=models.Q(("accepted_at", None)),
                        fields=("tenant", "email"),
                        name="one_open_invitation_per_address",
                        violation_error_message="This person has an open invitation already; withdraw it first.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="permissions_invitation_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="permissions_invitation_isolation"
                    ),
                ],
            },
        ),
    ]
