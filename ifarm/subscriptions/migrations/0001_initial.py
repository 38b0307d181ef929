import django.db.models.deletion
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
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Subscription",
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
                    "status",
                    models.CharField(
                        choices=[
                            ("trial", "trial"),
                            ("active", "active"),
                            ("past_due", "past due"),
                            ("expired", "expired"),
                            ("cancelled", "cancelled"),
                        ],
                        default="trial",
                        max_length=9,
                    ),
                ),
                ("trial_ends_at", models.DateTimeField()),
                ("plan", models.CharField(blank=True, default="", max_length=20)),
                ("amount", models.DecimalField(decimal_places=4, default=0, max_digits=16)),
                (
                    "currency",
                    models.CharField(max_length=3, validators=[ifarm.financial.money.require_currency]),
                ),
                ("months", models.PositiveSmallIntegerField(default=1)),
                ("payment_method", models.CharField(blank=True, default="", max_length=120)),
                ("anchor_date", models.DateField(blank=True, null=True)),
                ("anchor_period", models.PositiveIntegerField(default=0)),
                ("next_period", models.PositiveIntegerField(default=0)),
                ("next_billing_date", models.DateField(blank=True, null=True)),
                ("ends_with_period", models.BooleanField(default=False)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant",),
                        name="one_subscription_per_tenant",
                        violation_error_message="This tenant has a subscription already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status__in", ["active", "past_due"]), _negated=True),
                            models.Q(
                                models.Q(("plan", ""), _negated=True),
                                ("anchor_date__isnull", False),
                                ("next_billing_date__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="what_runs_has_a_plan",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="subscriptions_subscription_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="subscriptions_subscription_isolation"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Charge",
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
                    "subscription",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="charges",
                        to="subscriptions.subscription",
                    ),
                ),
                ("period", models.PositiveIntegerField()),
                ("first_day", models.DateField()),
                ("last_day", models.DateField()),
                ("plan", models.CharField(max_length=20)),
                ("amount", models.DecimalField(decimal_places=4, max_digits=16)),
                (
                    "currency",
                    models.CharField(max_length=3, validators=[ifarm.financial.money.require_currency]),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "pending"), ("succeeded", "succeeded"), ("failed", "failed")],
                        default="pending",
                        max_length=9,
                    ),
                ),
                ("payment_method", models.CharField(max_length=120)),
                ("failures", models.PositiveSmallIntegerField(default=0)),
                ("failure", models.CharField(blank=True, default="", max_length=80)),
                ("next_attempt_at", models.DateTimeField(blank=True, null=True)),
                ("reference", models.CharField(blank=True, default="", max_length=120)),
                ("paid_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("subscription", "period"), name="one_charge_per_period"),
                    models.CheckConstraint(
                        condition=models.Q(("amount__gt", 0)), name="charge_amount_positive"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("paid_at__isnull", False), ("status", "succeeded")),
                            models.Q(models.Q(("status", "succeeded"), _negated=True), ("paid_at", None)),
                            _connector="OR",
                        ),
                        name="charge_paid_once_it_succeeded",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="subscriptions_charge_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="subscriptions_charge_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="subscription", name="subscriptions_charge_subscription_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SubscriptionInvoice",
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
                    "charge",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="subscriptions.charge",
                    ),
                ),
                ("year", models.PositiveSmallIntegerField()),
                ("number", models.PositiveIntegerField()),
                ("issued_on", models.DateField()),
                ("description", models.CharField(max_length=200)),
                ("amount", models.DecimalField(decimal_places=4, max_digits=16)),
                (
                    "currency",
                    models.CharField(max_length=3, validators=[ifarm.financial.money.require_currency]),
                ),
            ],
            options={
                "verbose_name": "subscription invoice",
                "constraints": [
                    models.UniqueConstraint(fields=("charge",), name="one_invoice_per_charge"),
                    models.UniqueConstraint(
                        fields=("tenant", "year", "number"), name="subscription_invoice_numbers_differ"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="subscriptions_subscriptioninvoice_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        append_only=True, field="tenant", name="subscriptions_subscriptioninvoice_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="charge", name="subscriptions_subscriptioninvoice_charge_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="TrialNotice",
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
                    "subscription",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="notices",
                        to="subscriptions.subscription",
                    ),
                ),
                ("days_left", models.PositiveSmallIntegerField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("subscription", "days_left"), name="one_notice_per_milestone"
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="subscriptions_trialnotice_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        append_only=True, field="tenant", name="subscriptions_trialnotice_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="subscription", name="subscriptions_trialnotice_subscription_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ProviderEvent",
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
                ("event_id", models.CharField(max_length=120)),
                ("type", models.CharField(max_length=60)),
                (
                    "charge",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="subscriptions.charge",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "event_id"), name="one_effect_per_event"),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="subscriptions_providerevent_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        append_only=True, field="tenant", name="subscriptions_providerevent_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="charge", name="subscriptions_providerevent_charge_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="UsageMetric",
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
                ("hour", models.DateTimeField()),
                (
                    "metric",
                    models.CharField(
                        choices=[("animals", "animals"), ("changes", "changes"), ("members", "members")],
                        max_length=12,
                    ),
                ),
                ("value", models.PositiveBigIntegerField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "hour", "metric"), name="one_value_per_hour"),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="subscriptions_usagemetric_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="subscriptions_usagemetric_isolation"
                    ),
                ],
            },
        ),
    ]
