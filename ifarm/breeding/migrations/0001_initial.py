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
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="BreedingEvent",
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
                            ("Heat", "Heat"),
                            ("Service", "Service"),
                            ("PregnancyCheck", "PregnancyCheck"),
                            ("Calving", "Calving"),
                            ("Abortion", "Abortion"),
                        ],
                        max_length=14,
                    ),
                ),
                ("happened_on", models.DateField()),
                (
                    "detection",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("Chemical", "Chemical"),
                            ("Visual", "Visual"),
                            ("Pedometer", "Pedometer"),
                            ("Collar", "Collar"),
                            ("EarTag", "EarTag"),
                            ("Bolus", "Bolus"),
                            ("Other", "Other"),
                        ],
                        default="",
                        max_length=10,
                    ),
                ),
                (
                    "service_method",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("NaturalService", "NaturalService"),
                            ("RunWithBull", "RunWithBull"),
                            ("Insemination", "Insemination"),
                            ("Implantation", "Implantation"),
                        ],
                        default="",
                        max_length=14,
                    ),
                ),
                ("semen_batch", models.CharField(blank=True, default="", max_length=60)),
                (
                    "check_method",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("Ecography", "Ecography"),
                            ("Palpation", "Palpation"),
                            ("Blood", "Blood"),
                            ("Milk", "Milk"),
                            ("Visual", "Visual"),
                            ("Other", "Other"),
                        ],
                        default="",
                        max_length=9,
                    ),
                ),
                (
                    "result",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("Empty", "Empty"),
                            ("Pregnant", "Pregnant"),
                            ("Multiple", "Multiple"),
                            ("Unknown", "Unknown"),
                        ],
                        default="",
                        max_length=8,
                    ),
                ),
                ("days_pregnant", models.PositiveSmallIntegerField(blank=True, null=True)),
                (
                    "ease",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("EasyUnassisted", "EasyUnassisted"),
                            ("EasyAssisted", "EasyAssisted"),
                            ("DifficultExtraAssistance", "DifficultExtraAssistance"),
                            ("DifficultVeterinaryCare", "DifficultVeterinaryCare"),
                            ("CaesareanOrSurgery", "CaesareanOrSurgery"),
                        ],
                        default="",
                        max_length=24,
                    ),
                ),
                ("born_alive_count", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("stillborn_count", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("conceived", models.BooleanField(blank=True, editable=False, null=True)),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="breeding_events",
                        to="animals.animal",
                    ),
                ),
                (
                    "sire",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
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
                "verbose_name": "breeding event",
                "indexes": [
                    models.Index(
                        models.F("animal"),
                        models.F("happened_on"),
                        models.F("id"),
                        name="breeding_of_an_animal",
                    ),
                    models.Index(
                        models.F("tenant"),
                        models.F("kind"),
                        models.F("happened_on"),
                        name="breeding_by_kind_and_day",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("kind", "Heat"),
                                models.Q(("detection", ""), _negated=True),
                                ("service_method", ""),
                                ("check_method", ""),
                                ("result", ""),
                                ("ease", ""),
                            ),
                            models.Q(
                                ("kind", "Service"),
                                ("detection", ""),
                                models.Q(("service_method", ""), _negated=True),
                                ("check_method", ""),
                                ("result", ""),
                                ("ease", ""),
                            ),
                            models.Q(
                                ("kind", "PregnancyCheck"),
                                ("detection", ""),
                                ("service_method", ""),
                                models.Q(("check_method", ""), _negated=True),
                                models.Q(("result", ""), _negated=True),
                                ("ease", ""),
                            ),
                            models.Q(
                                ("kind", "Calving"),
                                ("detection", ""),
                                ("service_method", ""),
                                ("check_method", ""),
                                ("result", ""),
                                models.Q(("ease", ""), _negated=True),
                            ),
                            models.Q(
                                ("kind", "Abortion"),
                                ("detection", ""),
                                ("service_method", ""),
                                ("check_method", ""),
                                ("result", ""),
                                ("ease", ""),
                            ),
                            _connector="OR",
                        ),
                        name="breeding_words_of_their_kind",
                        violation_error_message="An event has the words of its kind, and no others.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("kind", "Service"),
                            models.Q(("conceived", None), ("semen_batch", ""), ("sire", None)),
                            _connector="OR",
                        ),
                        name="only_a_service_has_a_sire",
                        violation_error_message="Only a service has a sire.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("days_pregnant", None), ("kind", "PregnancyCheck"), _connector="OR"
                        ),
                        name="only_a_check_dates_a_pregnancy",
                        violation_error_message="Only a check dates a pregnancy.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                models.Q(("kind", "Calving"), _negated=True),
                                ("born_alive_count", None),
                                ("stillborn_count", None),
                            ),
                            models.Q(
                                ("born_alive_count__isnull", False),
                                ("kind", "Calving"),
                                ("stillborn_count__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="only_a_calving_counts_births",
                        violation_error_message="Only a calving counts who is born.",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("kind__in", ["Calving", "Abortion"])),
                        fields=("animal", "happened_on"),
                        name="one_birth_a_day",
                        violation_error_message="A birth of that day is recorded already; twins are of one calving.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="breeding_breedingevent_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="breeding_breedingevent_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="breeding_breedingevent_animal_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="sire", name="breeding_breedingevent_sire_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BreedingPlan",
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
                ("voluntary_wait_days", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("pregnancy_check_days", models.PositiveSmallIntegerField()),
                ("dry_period_days", models.PositiveSmallIntegerField(blank=True, null=True)),
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
                "verbose_name": "breeding plan",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "species"),
                        name="one_plan_per_species",
                        violation_error_message="There is a plan for this species already.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("voluntary_wait_days", None),
                                ("voluntary_wait_days__lte", 365),
                                _connector="OR",
                            ),
                            models.Q(
                                ("dry_period_days", None),
                                ("dry_period_days__range", (1, 110)),
                                _connector="OR",
                            ),
                            ("pregnancy_check_days__range", (1, 110)),
                        ),
                        name="plan_possible",
                        violation_error_message="Expected a wait up to 365 days, a check and a dry period from 1 to 110.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="breeding_breedingplan_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="breeding_breedingplan_isolation"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="DueEvent",
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
                            ("Service", "Service"),
                            ("HeatRepeat", "HeatRepeat"),
                            ("PregnancyCheck", "PregnancyCheck"),
                            ("DryOff", "DryOff"),
                            ("Calving", "Calving"),
                        ],
                        max_length=14,
                    ),
                ),
                ("anchor_on", models.DateField()),
                ("due_from", models.DateField()),
                ("due_until", models.DateField()),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="due_events",
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
                "verbose_name": "due event",
                "indexes": [
                    models.Index(models.F("tenant"), models.F("due_from"), models.F("id"), name="due_by_day")
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("animal", "kind"), name="one_due_event_per_kind"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("due_from__gte", models.F("anchor_on")), ("due_until__gte", models.F("due_from"))
                        ),
                        name="due_after_its_anchor",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="breeding_dueevent_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="breeding_dueevent_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="breeding_dueevent_animal_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Offspring",
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
                    "birth_status",
                    models.CharField(choices=[("Alive", "Alive"), ("Stillborn", "Stillborn")], max_length=9),
                ),
                (
                    "sex",
                    models.CharField(
                        choices=[
                            ("Female", "Female"),
                            ("FemaleNeuter", "FemaleNeuter"),
                            ("Freemartin", "Freemartin"),
                            ("Male", "Male"),
                            ("MaleCryptorchid", "MaleCryptorchid"),
                            ("MaleNeuter", "MaleNeuter"),
                            ("Unknown", "Unknown"),
                        ],
                        max_length=16,
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
                    "calving",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="offspring",
                        to="breeding.breedingevent",
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
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("animal__isnull", False), ("birth_status", "Alive")),
                            models.Q(("animal__isnull", True), ("birth_status", "Stillborn")),
                            _connector="OR",
                        ),
                        name="the_living_are_animals",
                        violation_error_message="Who is born alive is an animal, who is stillborn is none.",
                    ),
                    models.UniqueConstraint(
                        fields=("animal",),
                        name="born_once",
                        violation_error_message="This animal is of another calving.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="breeding_offspring_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="breeding_offspring_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="calving", name="breeding_offspring_calving_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="breeding_offspring_animal_same_tenant"
                    ),
                ],
            },
        ),
    ]
