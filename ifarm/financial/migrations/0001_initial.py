import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.text
import django.utils.timezone
import ifarm.core.constraints
import ifarm.core.context
import ifarm.core.ids
import ifarm.core.models
import ifarm.financial.money
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
            name="Contact",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("buyer", "buyer"), ("supplier", "supplier"), ("vet", "vet")], max_length=8
                    ),
                ),
                ("name", models.CharField(max_length=120)),
                ("email", models.EmailField(blank=True, default="", max_length=254)),
                ("phone", models.CharField(blank=True, default="", max_length=40)),
                ("address", models.CharField(blank=True, default="", max_length=300)),
                ("tax_number", models.CharField(blank=True, default="", max_length=40)),
                ("is_active", models.BooleanField(default=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        models.F("tenant"),
                        models.F("kind"),
                        django.db.models.functions.text.Lower("name"),
                        name="contact_names_differ",
                        violation_error_message="There is a contact of this kind and name already.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_contact_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="financial_contact_isolation"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Expense",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                ("source", models.CharField(blank=True, default="", max_length=60)),
                ("source_id", models.CharField(blank=True, default="", max_length=120)),
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
                    "supplier",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="financial.contact",
                    ),
                ),
                ("expense_date", models.DateField()),
                ("description", models.CharField(max_length=300)),
                ("receipt_number", models.CharField(blank=True, default="", max_length=60)),
                ("amount", models.DecimalField(decimal_places=4, max_digits=16)),
                (
                    "currency",
                    models.CharField(max_length=3, validators=[ifarm.financial.money.require_currency]),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("draft", "draft"),
                            ("submitted", "submitted"),
                            ("approved", "approved"),
                            ("rejected", "rejected"),
                            ("paid", "paid"),
                        ],
                        default="draft",
                        max_length=9,
                    ),
                ),
                ("submitted_by", models.UUIDField(blank=True, editable=False, null=True)),
                ("submitted_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("decided_by", models.UUIDField(blank=True, editable=False, null=True)),
                ("decided_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("paid_on", models.DateField(blank=True, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        models.F("tenant"), models.F("expense_date"), models.F("id"), name="expenses_by_day"
                    ),
                    models.Index(models.F("farm"), models.F("expense_date"), name="expenses_of_a_farm"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0)),
                        name="expense_amount_positive",
                        violation_error_message="An expense is more than nothing.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by", None),
                            models.Q(("decided_by", models.F("submitted_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="nobody_decides_their_own_expense",
                        violation_error_message="Somebody else than who submitted an expense decides it.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("decided_at", None),
                                ("decided_by", None),
                                ("status", "draft"),
                                ("submitted_at", None),
                                ("submitted_by", None),
                            ),
                            models.Q(
                                ("decided_at", None),
                                ("decided_by", None),
                                ("status", "submitted"),
                                ("submitted_at__isnull", False),
                                ("submitted_by__isnull", False),
                            ),
                            models.Q(
                                ("decided_at__isnull", False),
                                ("decided_by__isnull", False),
                                ("status__in", ["approved", "rejected", "paid"]),
                                ("submitted_at__isnull", False),
                                ("submitted_by__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="expense_status_has_its_people",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("paid_on__isnull", False), ("status", "paid")),
                            models.Q(models.Q(("status", "paid"), _negated=True), ("paid_on", None)),
                            _connector="OR",
                        ),
                        name="expense_paid_on_a_day",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_expense_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="financial_expense_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="farm", name="financial_expense_farm_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="supplier", name="financial_expense_supplier_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ExpenseLine",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "expense",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="financial.expense",
                    ),
                ),
                ("position", models.PositiveSmallIntegerField()),
                (
                    "category",
                    models.CharField(
                        choices=[
                            ("feed", "feed"),
                            ("veterinary", "veterinary"),
                            ("breeding", "breeding"),
                            ("livestock_services", "livestock services"),
                            ("crops", "crops"),
                            ("labour", "labour"),
                            ("contract_work", "contract work"),
                            ("machinery", "machinery"),
                            ("buildings", "buildings"),
                            ("energy", "energy"),
                            ("water", "water"),
                            ("insurance", "insurance"),
                            ("rent", "rent"),
                            ("transport", "transport"),
                            ("other", "other"),
                        ],
                        max_length=20,
                    ),
                ),
                ("description", models.CharField(blank=True, default="", max_length=200)),
                ("amount", models.DecimalField(decimal_places=4, max_digits=16)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("expense", "position"), name="one_expense_line_per_position"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0)), name="expense_line_amount_positive"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_expenseline_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="financial_expenseline_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="expense", name="financial_expenseline_expense_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ExpenseAllocation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "line",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="allocations",
                        to="financial.expenseline",
                    ),
                ),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="animals.animal",
                    ),
                ),
                (
                    "group",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="animals.animalgroup",
                    ),
                ),
                ("amount", models.DecimalField(decimal_places=4, max_digits=16)),
            ],
            options={
                "indexes": [models.Index(models.F("animal"), name="allocations_to_an_animal")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("animal", None), ("group__isnull", False)),
                            models.Q(("animal__isnull", False), ("group", None)),
                            _connector="OR",
                        ),
                        name="allocated_to_one_animal_or_group",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0)), name="allocation_amount_positive"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_expenseallocation_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="financial_expenseallocation_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="line", name="financial_expenseallocation_line_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="financial_expenseallocation_animal_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="group", name="financial_expenseallocation_group_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ExpenseStep",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "expense",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="steps",
                        to="financial.expense",
                    ),
                ),
                (
                    "from_status",
                    models.CharField(
                        choices=[
                            ("draft", "draft"),
                            ("submitted", "submitted"),
                            ("approved", "approved"),
                            ("rejected", "rejected"),
                            ("paid", "paid"),
                        ],
                        max_length=9,
                    ),
                ),
                (
                    "to_status",
                    models.CharField(
                        choices=[
                            ("draft", "draft"),
                            ("submitted", "submitted"),
                            ("approved", "approved"),
                            ("rejected", "rejected"),
                            ("paid", "paid"),
                        ],
                        max_length=9,
                    ),
                ),
                ("actor_id", models.UUIDField()),
                ("reason", models.CharField(blank=True, default="", max_length=500)),
            ],
            options={
                "verbose_name": "step",
                "indexes": [
                    models.Index(models.F("expense"), models.F("created_at"), name="steps_of_an_expense")
                ],
                "constraints": [
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_expensestep_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        append_only=True, field="tenant", name="financial_expensestep_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="expense", name="financial_expensestep_expense_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Sale",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                ("source", models.CharField(blank=True, default="", max_length=60)),
                ("source_id", models.CharField(blank=True, default="", max_length=120)),
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
                    "buyer",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="financial.contact",
                    ),
                ),
                ("sale_date", models.DateField()),
                ("amount", models.DecimalField(decimal_places=4, max_digits=16)),
                (
                    "currency",
                    models.CharField(max_length=3, validators=[ifarm.financial.money.require_currency]),
                ),
                ("note", models.CharField(blank=True, default="", max_length=300)),
            ],
            options={
                "indexes": [
                    models.Index(
                        models.F("tenant"), models.F("sale_date"), models.F("id"), name="sales_by_day"
                    ),
                    models.Index(models.F("farm"), models.F("sale_date"), name="sales_of_a_farm"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0)), name="sale_amount_positive"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_sale_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        append_only=True, field="tenant", name="financial_sale_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(field="farm", name="financial_sale_farm_same_tenant"),
                    ifarm.core.constraints.SameTenant(field="buyer", name="financial_sale_buyer_same_tenant"),
                ],
            },
        ),
        migrations.CreateModel(
            name="SaleLine",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "sale",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lines",
                        to="financial.sale",
                    ),
                ),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="animals.animal",
                    ),
                ),
                (
                    "movement",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="animals.movement",
                    ),
                ),
                ("amount", models.DecimalField(decimal_places=4, max_digits=16)),
                ("weight_kg", models.DecimalField(blank=True, decimal_places=2, max_digits=7, null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("sale", "animal"), name="one_sale_line_per_animal"),
                    models.UniqueConstraint(fields=("movement",), name="one_sale_line_per_movement"),
                    models.CheckConstraint(
                        condition=models.Q(("amount__gte", 0)), name="sale_line_amount_not_negative"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_saleline_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        append_only=True, field="tenant", name="financial_saleline_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="sale", name="financial_saleline_sale_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="financial_saleline_animal_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="movement", name="financial_saleline_movement_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Purchase",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                ("source", models.CharField(blank=True, default="", max_length=60)),
                ("source_id", models.CharField(blank=True, default="", max_length=120)),
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
                    "supplier",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="financial.contact",
                    ),
                ),
                ("purchase_date", models.DateField()),
                ("amount", models.DecimalField(decimal_places=4, max_digits=16)),
                (
                    "currency",
                    models.CharField(max_length=3, validators=[ifarm.financial.money.require_currency]),
                ),
                ("note", models.CharField(blank=True, default="", max_length=300)),
            ],
            options={
                "indexes": [
                    models.Index(
                        models.F("tenant"), models.F("purchase_date"), models.F("id"), name="purchases_by_day"
                    ),
                    models.Index(models.F("farm"), models.F("purchase_date"), name="purchases_of_a_farm"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0)), name="purchase_amount_positive"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_purchase_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        append_only=True, field="tenant", name="financial_purchase_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="farm", name="financial_purchase_farm_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="supplier", name="financial_purchase_supplier_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PurchaseLine",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "purchase",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lines",
                        to="financial.purchase",
                    ),
                ),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="animals.animal",
                    ),
                ),
                (
                    "movement",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="animals.movement",
                    ),
                ),
                ("amount", models.DecimalField(decimal_places=4, max_digits=16)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("purchase", "animal"), name="one_purchase_line_per_animal"
                    ),
                    models.UniqueConstraint(fields=("movement",), name="one_purchase_line_per_movement"),
                    models.CheckConstraint(
                        condition=models.Q(("amount__gte", 0)), name="purchase_line_amount_not_negative"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_purchaseline_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        append_only=True, field="tenant", name="financial_purchaseline_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="purchase", name="financial_purchaseline_purchase_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="financial_purchaseline_animal_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="movement", name="financial_purchaseline_movement_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Invoice",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("invoice", "invoice"), ("credit_note", "credit note")],
                        default="invoice",
                        max_length=11,
                    ),
                ),
                ("year", models.PositiveSmallIntegerField()),
                ("number", models.PositiveIntegerField()),
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
                    "buyer",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="financial.contact",
                    ),
                ),
                (
                    "sale",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="financial.sale",
                    ),
                ),
                (
                    "credits",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="financial.invoice",
                    ),
                ),
                ("buyer_name", models.CharField(max_length=120)),
                ("buyer_address", models.CharField(blank=True, default="", max_length=300)),
                ("buyer_tax_number", models.CharField(blank=True, default="", max_length=40)),
                ("issued_on", models.DateField()),
                ("due_on", models.DateField()),
                ("net_amount", models.DecimalField(decimal_places=4, max_digits=16)),
                ("vat_amount", models.DecimalField(decimal_places=4, max_digits=16)),
                ("gross_amount", models.DecimalField(decimal_places=4, max_digits=16)),
                ("paid_amount", models.DecimalField(decimal_places=4, default=0, max_digits=16)),
                (
                    "currency",
                    models.CharField(max_length=3, validators=[ifarm.financial.money.require_currency]),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("open", "open"), ("paid", "paid"), ("credited", "credited")],
                        default="open",
                        max_length=8,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        models.F("tenant"), models.F("issued_on"), models.F("id"), name="invoices_by_day"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "year", "number"), name="invoice_numbers_differ"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(
                            ("kind", "invoice"),
                            models.Q(("status", "credited"), _negated=True),
                            ("sale__isnull", False),
                        ),
                        fields=("sale",),
                        name="one_invoice_per_sale",
                        violation_error_message="This sale has an invoice already; credit it first.",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("credits__isnull", False)),
                        fields=("credits",),
                        name="one_credit_note_per_invoice",
                        violation_error_message="This invoice was credited already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("paid_amount__gte", 0), ("paid_amount__lte", models.F("gross_amount"))
                        ),
                        name="no_invoice_is_overpaid",
                        violation_error_message="A payment is at most what is open.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "gross_amount",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("net_amount"), "+", models.F("vat_amount")
                                ),
                            )
                        ),
                        name="invoice_adds_up",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("due_on__gte", models.F("issued_on"))),
                        name="invoice_due_after_issue",
                        violation_error_message="An invoice is due on the day it is issued or later.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_invoice_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="financial_invoice_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="farm", name="financial_invoice_farm_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="buyer", name="financial_invoice_buyer_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="sale", name="financial_invoice_sale_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="credits", name="financial_invoice_credits_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="InvoiceLine",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "invoice",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="lines",
                        to="financial.invoice",
                    ),
                ),
                ("position", models.PositiveSmallIntegerField()),
                ("description", models.CharField(max_length=200)),
                ("net_amount", models.DecimalField(decimal_places=4, max_digits=16)),
                ("vat_rate_percent", models.DecimalField(decimal_places=2, max_digits=5)),
                ("vat_amount", models.DecimalField(decimal_places=4, max_digits=16)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("invoice", "position"), name="one_invoice_line_per_position"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("vat_rate_percent__gte", 0), ("vat_rate_percent__lte", 100)),
                        name="vat_rate_is_a_rate",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_invoiceline_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        append_only=True, field="tenant", name="financial_invoiceline_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="invoice", name="financial_invoiceline_invoice_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Payment",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
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
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                ("source", models.CharField(blank=True, default="", max_length=60)),
                ("source_id", models.CharField(blank=True, default="", max_length=120)),
                (
                    "invoice",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="payments",
                        to="financial.invoice",
                    ),
                ),
                ("paid_on", models.DateField()),
                ("amount", models.DecimalField(decimal_places=4, max_digits=16)),
                (
                    "currency",
                    models.CharField(max_length=3, validators=[ifarm.financial.money.require_currency]),
                ),
                (
                    "method",
                    models.CharField(
                        choices=[
                            ("transfer", "transfer"),
                            ("card", "card"),
                            ("cash", "cash"),
                            ("cheque", "cheque"),
                            ("other", "other"),
                        ],
                        default="transfer",
                        max_length=8,
                    ),
                ),
                ("reference", models.CharField(blank=True, default="", max_length=120)),
            ],
            options={
                "indexes": [
                    models.Index(models.F("invoice"), models.F("paid_on"), name="payments_of_an_invoice")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0)), name="payment_amount_positive"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="financial_payment_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        append_only=True, field="tenant", name="financial_payment_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="invoice", name="financial_payment_invoice_same_tenant"
                    ),
                ],
            },
        ),
    ]
