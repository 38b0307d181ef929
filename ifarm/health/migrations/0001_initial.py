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
        ("animals", "0002_breeds"),
        ("farms", "0001_initial"),
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Medicine",
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
                ("registration_number", models.CharField(blank=True, default="", max_length=60)),
                (
                    "unit",
                    models.CharField(
                        choices=[
                            ("MLT", "MLT"),
                            ("LTR", "LTR"),
                            ("MGM", "MGM"),
                            ("GRM", "GRM"),
                            ("EA", "EA"),
                            ("XTU", "XTU"),
                            ("XVI", "XVI"),
                            ("SYR", "SYR"),
                        ],
                        max_length=3,
                    ),
                ),
                ("is_active", models.BooleanField(default=True)),
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
                        name="medicine_names_differ",
                        violation_error_message="There is a medicine of this name already.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="health_medicine_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(field="tenant", name="health_medicine_isolation"),
                ],
            },
        ),
        migrations.CreateModel(
            name="LabelPeriod",
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
                    "species",
                    models.CharField(
                        choices=[
                            ("Buffalo", "Buffalo"),
                            ("Cattle", "Cattle"),
                            ("Deer", "Deer"),
                            ("Elk", "Elk"),
                            ("Goat", "Goat"),
                            ("Horse", "Horse"),
                            ("Pig", "Pig"),
                            ("Sheep", "Sheep"),
                            ("Chicken", "Chicken"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "product",
                    models.CharField(
                        choices=[("Meat", "Meat"), ("Milk", "Milk"), ("Eggs", "Eggs")], max_length=4
                    ),
                ),
                ("hours", models.PositiveIntegerField()),
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
                    "medicine",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="label",
                        to="health.medicine",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("medicine", "species", "product"), name="one_period_per_species_and_product"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="health_labelperiod_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="health_labelperiod_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="medicine", name="health_labelperiod_medicine_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="MedicineBatch",
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
                ("batch_number", models.CharField(max_length=40)),
                ("expires_on", models.DateField()),
                ("on_hand", models.DecimalField(decimal_places=3, default=0, editable=False, max_digits=12)),
                (
                    "farm",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="farms.farm",
                    ),
                ),
                (
                    "medicine",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="batches",
                        to="health.medicine",
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
                "verbose_name": "batch",
                "indexes": [
                    models.Index(
                        models.F("tenant"), models.F("expires_on"), models.F("id"), name="batches_by_expiry"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        models.F("farm"),
                        models.F("medicine"),
                        django.db.models.functions.text.Lower("batch_number"),
                        name="batch_numbers_differ",
                        violation_error_message="This farm has this batch already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("on_hand__gte", 0)),
                        name="stock_never_below_nothing",
                        violation_error_message="There is not so much of this batch.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="health_medicinebatch_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="health_medicinebatch_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="farm", name="health_medicinebatch_farm_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="medicine", name="health_medicinebatch_medicine_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="MedicinePurchase",
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
                ("purchased_on", models.DateField()),
                ("quantity", models.DecimalField(decimal_places=3, max_digits=12)),
                ("supplier", models.CharField(blank=True, default="", max_length=160)),
                ("receipt_number", models.CharField(blank=True, default="", max_length=60)),
                ("cost_amount", models.DecimalField(blank=True, decimal_places=2, max_digits=12, null=True)),
                ("cost_currency", models.CharField(blank=True, default="", max_length=3)),
                (
                    "batch",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="purchases",
                        to="health.medicinebatch",
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
                "verbose_name": "medicine purchase",
                "indexes": [
                    models.Index(
                        models.F("tenant"),
                        models.F("purchased_on"),
                        models.F("id"),
                        name="medicine_purchases_by_day",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("quantity__gt", 0)),
                        name="purchase_of_something",
                        violation_error_message="A purchase is of more than nothing.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("cost_amount", None),
                            models.Q(("cost_currency", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="medicine_cost_has_a_currency",
                        violation_error_message="A cost needs a currency.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="health_medicinepurchase_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="health_medicinepurchase_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="batch", name="health_medicinepurchase_batch_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Treatment",
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
                    "kind",
                    models.CharField(
                        choices=[
                            ("Treatment", "Treatment"),
                            ("Vaccination", "Vaccination"),
                            ("Procedure", "Procedure"),
                        ],
                        max_length=11,
                    ),
                ),
                ("treated_at", models.DateTimeField()),
                ("target", models.CharField(blank=True, default="", max_length=120)),
                ("procedure", models.CharField(blank=True, default="", max_length=120)),
                ("site", models.CharField(blank=True, default="", max_length=60)),
                ("prescribed_by", models.CharField(blank=True, default="", max_length=120)),
                ("comment", models.CharField(blank=True, default="", max_length=1000)),
                ("due_again_on", models.DateField(blank=True, null=True)),
                ("first_dose_on", models.DateField(blank=True, editable=False, null=True)),
                ("last_dose_on", models.DateField(blank=True, editable=False, null=True)),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="treatments",
                        to="animals.animal",
                    ),
                ),
                (
                    "medicine",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="health.medicine",
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
                        models.F("animal"),
                        models.F("treated_at"),
                        models.F("id"),
                        name="treatments_of_an_animal",
                    ),
                    models.Index(
                        models.F("tenant"), models.F("treated_at"), models.F("id"), name="treatments_by_time"
                    ),
                    models.Index(
                        models.F("medicine"), models.F("last_dose_on"), name="treatments_by_medicine"
                    ),
                    models.Index(
                        models.F("tenant"),
                        models.F("due_again_on"),
                        condition=models.Q(("due_again_on__isnull", False)),
                        name="treatments_due_again",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("medicine__isnull", False),
                            models.Q(("procedure", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="a_medicine_or_a_procedure",
                        violation_error_message="A treatment needs a medicine or a procedure.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="health_treatment_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(field="tenant", name="health_treatment_isolation"),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="health_treatment_animal_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="medicine", name="health_treatment_medicine_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="TreatmentDose",
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
                ("given_at", models.DateTimeField()),
                ("given_on", models.DateField(editable=False)),
                ("quantity", models.DecimalField(decimal_places=3, max_digits=12)),
                ("voided_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("void_reason", models.CharField(blank=True, default="", editable=False, max_length=200)),
                (
                    "batch",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="health.medicinebatch",
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
                    "treatment",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="doses",
                        to="health.treatment",
                    ),
                ),
            ],
            options={
                "verbose_name": "dose",
                "indexes": [
                    models.Index(
                        models.F("treatment"),
                        models.F("given_at"),
                        models.F("id"),
                        name="doses_of_a_treatment",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("quantity__gt", 0)),
                        name="dose_of_something",
                        violation_error_message="A dose is more than nothing.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="health_treatmentdose_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="health_treatmentdose_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="treatment", name="health_treatmentdose_treatment_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="batch", name="health_treatmentdose_batch_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="StockMove",
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
                    "kind",
                    models.CharField(
                        choices=[
                            ("Receipt", "Receipt"),
                            ("Use", "Use"),
                            ("Disposal", "Disposal"),
                            ("StockTake", "StockTake"),
                        ],
                        max_length=9,
                    ),
                ),
                ("change", models.DecimalField(decimal_places=3, max_digits=12)),
                ("on_hand_after", models.DecimalField(decimal_places=3, max_digits=12)),
                ("moved_at", models.DateTimeField()),
                ("reason", models.CharField(blank=True, default="", max_length=200)),
                (
                    "batch",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="moves",
                        to="health.medicinebatch",
                    ),
                ),
                (
                    "purchase",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="health.medicinepurchase",
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
                    "dose",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="health.treatmentdose",
                    ),
                ),
            ],
            options={
                "verbose_name": "stock move",
                "indexes": [
                    models.Index(
                        models.F("batch"), models.F("created_at"), models.F("id"), name="moves_of_a_batch"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("on_hand_after__gte", 0)), name="no_move_below_nothing"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="health_stockmove_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        append_only=True, field="tenant", name="health_stockmove_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="batch", name="health_stockmove_batch_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="purchase", name="health_stockmove_purchase_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(field="dose", name="health_stockmove_dose_same_tenant"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Withdrawal",
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
                    "product",
                    models.CharField(
                        choices=[("Meat", "Meat"), ("Milk", "Milk"), ("Eggs", "Eggs")], max_length=4
                    ),
                ),
                ("hours", models.PositiveIntegerField()),
                ("starts_on", models.DateField()),
                ("free_on", models.DateField()),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="withdrawals",
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
                (
                    "treatment",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="withdrawals",
                        to="health.treatment",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        models.F("animal"),
                        models.F("product"),
                        models.F("free_on"),
                        name="withdrawals_of_an_animal",
                    ),
                    models.Index(
                        models.F("tenant"), models.F("free_on"), models.F("id"), name="withdrawals_by_end"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("treatment", "product"), name="one_clock_per_product"),
                    models.CheckConstraint(
                        condition=models.Q(("free_on__gte", models.F("starts_on"))),
                        name="withdrawal_ends_after_begin",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="health_withdrawal_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="health_withdrawal_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="treatment", name="health_withdrawal_treatment_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="health_withdrawal_animal_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="HealthCheck",
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
                ("checked_at", models.DateTimeField()),
                (
                    "health_status",
                    models.CharField(
                        choices=[
                            ("Healthy", "Healthy"),
                            ("Suspicious", "Suspicious"),
                            ("Ill", "Ill"),
                            ("InTreatment", "InTreatment"),
                            ("ToBeCulled", "ToBeCulled"),
                        ],
                        max_length=12,
                    ),
                ),
                ("temperature_c", models.DecimalField(blank=True, decimal_places=1, max_digits=3, null=True)),
                ("findings", models.CharField(blank=True, default="", max_length=1000)),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="health_checks",
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
                "verbose_name": "health check",
                "indexes": [
                    models.Index(
                        models.F("animal"), models.F("checked_at"), models.F("id"), name="checks_of_an_animal"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("temperature_c__gte", 25), ("temperature_c__lte", 46)),
                        name="temperature_of_a_body",
                        violation_error_message="A body has 25 to 46 degrees Celsius.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="health_healthcheck_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="health_healthcheck_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="health_healthcheck_animal_same_tenant"
                    ),
                ],
            },
        ),
    ]
