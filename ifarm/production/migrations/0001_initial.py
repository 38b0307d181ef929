import django.db.models.deletion
import django.utils.timezone
import ifarm.core.constraints
import ifarm.core.context
import ifarm.core.ids
import ifarm.core.models
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("animals", "0002_breeds"),
        ("farms", "0001_initial"),
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="DailySummary",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("day", models.DateField()),
                (
                    "production_type",
                    models.CharField(
                        choices=[("milk", "milk"), ("eggs", "eggs"), ("wool", "wool"), ("meat", "meat")],
                        max_length=4,
                    ),
                ),
                ("records", models.IntegerField()),
                ("milk_kg", models.DecimalField(decimal_places=2, max_digits=14)),
                ("sampled_milk_kg", models.DecimalField(decimal_places=2, max_digits=14)),
                ("fat_kg", models.DecimalField(decimal_places=6, max_digits=16)),
                ("protein_milk_kg", models.DecimalField(decimal_places=2, max_digits=14)),
                ("protein_kg", models.DecimalField(decimal_places=6, max_digits=16)),
                ("eggs_count", models.IntegerField()),
                ("eggs_broken_count", models.IntegerField()),
                ("wool_kg", models.DecimalField(decimal_places=2, max_digits=14)),
                ("carcass_kg", models.DecimalField(decimal_places=2, max_digits=14)),
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
            ],
            options={
                "verbose_name": "daily summary",
                "indexes": [
                    models.Index(models.F("tenant"), models.F("day"), models.F("id"), name="summaries_by_day")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "farm", "day", "production_type"), name="one_summary_per_day"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="production_dailysummary_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="production_dailysummary_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="farm", name="production_dailysummary_farm_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="DirtyDay",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("day", models.DateField()),
                (
                    "production_type",
                    models.CharField(
                        choices=[("milk", "milk"), ("eggs", "eggs"), ("wool", "wool"), ("meat", "meat")],
                        max_length=4,
                    ),
                ),
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
            ],
            options={
                "verbose_name": "dirty day",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "farm", "day", "production_type"), name="one_mark_per_day"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="production_dirtyday_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="production_dirtyday_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="farm", name="production_dirtyday_farm_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Lactation",
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
                ("number", models.PositiveSmallIntegerField()),
                ("starts_on", models.DateField()),
                ("ends_on", models.DateField(blank=True, null=True)),
                (
                    "end_reason",
                    models.CharField(
                        blank=True,
                        choices=[("DryOff", "DryOff"), ("Calving", "Calving")],
                        default="",
                        max_length=7,
                    ),
                ),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lactations",
                        to="animals.animal",
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
                    ifarm.core.constraints.NoOverlap(
                        end="ends_on",
                        message="The animal is in another lactation at that time.",
                        name="one_lactation_at_a_time",
                        same=("animal",),
                        start="starts_on",
                    ),
                    models.UniqueConstraint(
                        fields=("animal", "number"),
                        name="lactation_numbers_differ",
                        violation_error_message="The animal has a lactation of this number already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("end_reason", ""), ("ends_on", None)),
                            models.Q(
                                ("ends_on__gt", models.F("starts_on")),
                                models.Q(("end_reason", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="lactation_ends_after_it_starts",
                        violation_error_message="A lactation ends after it starts, for a reason.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("number__gt", 0)),
                        name="lactations_count_from_one",
                        violation_error_message="Lactations count from 1.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="production_lactation_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="production_lactation_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="production_lactation_animal_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Production",
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
                ("source", models.CharField(blank=True, default="", max_length=60)),
                ("source_id", models.CharField(blank=True, default="", max_length=120)),
                (
                    "production_type",
                    models.CharField(
                        choices=[("milk", "milk"), ("eggs", "eggs"), ("wool", "wool"), ("meat", "meat")],
                        max_length=4,
                    ),
                ),
                ("production_date", models.DateField()),
                (
                    "session",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("Morning", "Morning"),
                            ("Midday", "Midday"),
                            ("Evening", "Evening"),
                            ("Night", "Night"),
                            ("WholeDay", "WholeDay"),
                        ],
                        default="",
                        max_length=8,
                    ),
                ),
                ("milk_kg", models.DecimalField(blank=True, decimal_places=2, max_digits=5, null=True)),
                ("fat_percent", models.DecimalField(blank=True, decimal_places=2, max_digits=4, null=True)),
                (
                    "protein_percent",
                    models.DecimalField(blank=True, decimal_places=2, max_digits=4, null=True),
                ),
                ("somatic_cells_per_ml", models.PositiveIntegerField(blank=True, null=True)),
                ("eggs_count", models.PositiveIntegerField(blank=True, null=True)),
                ("eggs_broken_count", models.PositiveIntegerField(blank=True, null=True)),
                ("wool_kg", models.DecimalField(blank=True, decimal_places=2, max_digits=5, null=True)),
                (
                    "fibre_diameter_um",
                    models.DecimalField(blank=True, decimal_places=1, max_digits=4, null=True),
                ),
                ("carcass_kg", models.DecimalField(blank=True, decimal_places=2, max_digits=6, null=True)),
                ("carcass_class", models.CharField(blank=True, default="", max_length=8)),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="productions",
                        to="animals.animal",
                    ),
                ),
                (
                    "farm",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="farms.farm",
                    ),
                ),
                (
                    "group",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="productions",
                        to="animals.animalgroup",
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
                "indexes": [
                    models.Index(
                        models.F("tenant"),
                        models.F("production_date"),
                        models.F("id"),
                        name="production_by_date",
                    ),
                    models.Index(
                        models.F("tenant"),
                        models.F("farm"),
                        models.F("production_date"),
                        models.F("id"),
                        name="production_by_farm_and_date",
                    ),
                    models.Index(
                        models.F("animal"),
                        models.F("production_date"),
                        models.F("id"),
                        name="production_of_an_animal",
                    ),
                    models.Index(
                        models.F("tenant"),
                        models.F("modified_at"),
                        models.F("id"),
                        name="production_by_change",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("production_type", "milk"),
                                ("milk_kg__isnull", False),
                                models.Q(("session", ""), _negated=True),
                                ("carcass_class", ""),
                                ("carcass_kg__isnull", True),
                                ("eggs_broken_count__isnull", True),
                                ("eggs_count__isnull", True),
                                ("fibre_diameter_um__isnull", True),
                                ("wool_kg__isnull", True),
                            ),
                            models.Q(
                                ("production_type", "eggs"),
                                ("eggs_count__isnull", False),
                                ("carcass_class", ""),
                                ("carcass_kg__isnull", True),
                                ("fat_percent__isnull", True),
                                ("fibre_diameter_um__isnull", True),
                                ("milk_kg__isnull", True),
                                ("protein_percent__isnull", True),
                                ("session", ""),
                                ("somatic_cells_per_ml__isnull", True),
                                ("wool_kg__isnull", True),
                            ),
                            models.Q(
                                ("production_type", "wool"),
                                ("wool_kg__isnull", False),
                                ("carcass_class", ""),
                                ("carcass_kg__isnull", True),
                                ("eggs_broken_count__isnull", True),
                                ("eggs_count__isnull", True),
                                ("fat_percent__isnull", True),
                                ("milk_kg__isnull", True),
                                ("protein_percent__isnull", True),
                                ("session", ""),
                                ("somatic_cells_per_ml__isnull", True),
                            ),
                            models.Q(
                                ("production_type", "meat"),
                                ("carcass_kg__isnull", False),
                                ("eggs_broken_count__isnull", True),
                                ("eggs_count__isnull", True),
                                ("fat_percent__isnull", True),
                                ("fibre_diameter_um__isnull", True),
                                ("milk_kg__isnull", True),
                                ("protein_percent__isnull", True),
                                ("session", ""),
                                ("somatic_cells_per_ml__isnull", True),
                                ("wool_kg__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="production_of_one_kind",
                        violation_error_message="A record has the fields of its kind, and no others.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("animal__isnull", False), ("group__isnull", True)),
                            models.Q(
                                ("animal__isnull", True),
                                ("group__isnull", False),
                                ("production_type__in", ["eggs", "wool"]),
                            ),
                            _connector="OR",
                        ),
                        name="production_of_somebody",
                        violation_error_message="Milk and meat are of an animal; eggs and wool of an animal or a group.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("eggs_broken_count", None),
                            ("eggs_broken_count__lte", models.F("eggs_count")),
                            _connector="OR",
                        ),
                        name="no_more_broken_than_laid",
                        violation_error_message="No more eggs are broken than were laid.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("milk_kg", None),
                            models.Q(("milk_kg__gte", 0.01), ("milk_kg__lte", 150)),
                            _connector="OR",
                        ),
                        name="production_milk_kg_possible",
                        violation_error_message="Expected milk_kg from 0.01 to 150.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("fat_percent", None),
                            models.Q(("fat_percent__gte", 0.1), ("fat_percent__lte", 25)),
                            _connector="OR",
                        ),
                        name="production_fat_percent_possible",
                        violation_error_message="Expected fat_percent from 0.1 to 25.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("protein_percent", None),
                            models.Q(("protein_percent__gte", 0.1), ("protein_percent__lte", 20)),
                            _connector="OR",
                        ),
                        name="production_protein_percent_possible",
                        violation_error_message="Expected protein_percent from 0.1 to 20.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("wool_kg", None),
                            models.Q(("wool_kg__gte", 0.01), ("wool_kg__lte", 500)),
                            _connector="OR",
                        ),
                        name="production_wool_kg_possible",
                        violation_error_message="Expected wool_kg from 0.01 to 500.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("fibre_diameter_um", None),
                            models.Q(("fibre_diameter_um__gte", 5), ("fibre_diameter_um__lte", 60)),
                            _connector="OR",
                        ),
                        name="production_fibre_diameter_um_possible",
                        violation_error_message="Expected fibre_diameter_um from 5 to 60.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("carcass_kg", None),
                            models.Q(("carcass_kg__gte", 0.01), ("carcass_kg__lte", 1500)),
                            _connector="OR",
                        ),
                        name="production_carcass_kg_possible",
                        violation_error_message="Expected carcass_kg from 0.01 to 1500.",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("production_type", "milk")),
                        fields=("tenant", "animal", "production_date", "session"),
                        name="one_weight_per_milking",
                        violation_error_message="This milking is recorded already.",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("production_type", "meat")),
                        fields=("tenant", "animal"),
                        name="one_carcass_per_animal",
                        violation_error_message="This animal's carcass is recorded already.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="production_production_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="production_production_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="farm", name="production_production_farm_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="production_production_animal_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="group", name="production_production_group_same_tenant"
                    ),
                ],
            },
        ),
    ]
