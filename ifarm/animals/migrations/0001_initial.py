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
        ("core", "0002_ranges"),
        ("farms", "0001_initial"),
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Animal",
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
                ("tag_number", models.CharField(max_length=40)),
                ("name", models.CharField(blank=True, default="", max_length=80)),
                (
                    "animal_type",
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
                ("birth_date", models.DateField(blank=True, null=True)),
                (
                    "purpose",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("Meat", "Meat"),
                            ("Milk", "Milk"),
                            ("Wool", "Wool"),
                            ("Suckler", "Suckler"),
                            ("Breeding", "Breeding"),
                            ("Research", "Research"),
                            ("Pet", "Pet"),
                            ("Eggs", "Eggs"),
                        ],
                        default="",
                        max_length=10,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("Alive", "Alive"),
                            ("Dead", "Dead"),
                            ("OffFarm", "OffFarm"),
                            ("Unknown", "Unknown"),
                        ],
                        default="Alive",
                        max_length=8,
                    ),
                ),
                (
                    "estimated_value",
                    models.DecimalField(blank=True, decimal_places=2, max_digits=12, null=True),
                ),
                ("value_currency", models.CharField(blank=True, default="", max_length=3)),
                ("is_reference", models.BooleanField(default=False)),
                ("is_deleted", models.BooleanField(default=False)),
                (
                    "farm",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="animals",
                        to="farms.farm",
                    ),
                ),
                (
                    "paddock",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="animals",
                        to="farms.paddock",
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
                        models.F("tenant"), models.F("tag_number"), models.F("id"), name="animals_by_tag"
                    ),
                    models.Index(
                        models.F("tenant"),
                        models.F("farm"),
                        models.F("status"),
                        name="animals_by_farm_and_status",
                    ),
                    models.Index(
                        models.F("tenant"), models.F("modified_at"), models.F("id"), name="animals_by_change"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("estimated_value", None),
                            models.Q(("value_currency", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="value_has_a_currency",
                        violation_error_message="A value needs a currency.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="animals_animal_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(field="tenant", name="animals_animal_isolation"),
                    ifarm.core.constraints.SameTenant(field="farm", name="animals_animal_farm_same_tenant"),
                    ifarm.core.constraints.SameTenant(
                        field="paddock", name="animals_animal_paddock_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AnimalGroup",
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
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("Management", "Management"),
                            ("Milking", "Milking"),
                            ("Breeding", "Breeding"),
                            ("Feeding", "Feeding"),
                            ("Finishing", "Finishing"),
                        ],
                        max_length=10,
                    ),
                ),
                ("is_active", models.BooleanField(default=True)),
                (
                    "farm",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="groups",
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
                "verbose_name": "group",
                "constraints": [
                    models.UniqueConstraint(
                        models.F("farm"),
                        django.db.models.functions.text.Lower("name"),
                        name="group_names_differ",
                        violation_error_message="This farm has a group of this name already.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="animals_animalgroup_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="animals_animalgroup_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="farm", name="animals_animalgroup_farm_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AnimalIdentifier",
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
                    "kind",
                    models.CharField(
                        choices=[
                            ("EarTag", "EarTag"),
                            ("Eid", "Eid"),
                            ("Tattoo", "Tattoo"),
                            ("Brand", "Brand"),
                            ("LegBand", "LegBand"),
                            ("Management", "Management"),
                        ],
                        max_length=10,
                    ),
                ),
                ("value", models.CharField(max_length=40)),
                ("normalised", models.CharField(editable=False, max_length=40)),
                ("issued_on", models.DateField()),
                ("retired_on", models.DateField(blank=True, null=True)),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="identifiers",
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
                "verbose_name": "identifier",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("retired_on", None)),
                        fields=("tenant", "kind", "normalised"),
                        name="identifiers_in_use_differ",
                        violation_error_message="Another animal has this identifier.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("retired_on", None), ("retired_on__gte", models.F("issued_on")), _connector="OR"
                        ),
                        name="identifier_retired_after_issue",
                        violation_error_message="An identifier is retired after it was issued.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="animals_animalidentifier_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="animals_animalidentifier_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="animals_animalidentifier_animal_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BodyCondition",
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
                ("scored_on", models.DateField()),
                ("score", models.DecimalField(decimal_places=2, max_digits=3)),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="body_conditions",
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
                "verbose_name": "body condition",
                "indexes": [
                    models.Index(
                        models.F("animal"), models.F("scored_on"), models.F("id"), name="scores_of_an_animal"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("score__gte", 1), ("score__lte", 5)),
                        name="score_from_1_to_5",
                        violation_error_message="A score is from 1 to 5.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="animals_bodycondition_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="animals_bodycondition_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="animals_bodycondition_animal_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Breed",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
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
                ("code", models.CharField(max_length=6)),
                ("name", models.CharField(max_length=60)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("species", "code"), name="one_code_per_breed")
                ],
            },
        ),
        migrations.AddField(
            model_name="animal",
            name="breed",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="animals.breed",
            ),
        ),
        migrations.CreateModel(
            name="BreedFraction",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("parts", models.PositiveSmallIntegerField()),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="breed_fractions",
                        to="animals.animal",
                    ),
                ),
                (
                    "breed",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="animals.breed"
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
                    models.UniqueConstraint(fields=("animal", "breed"), name="one_fraction_per_breed"),
                    models.CheckConstraint(condition=models.Q(("parts__gt", 0)), name="breed_parts_positive"),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="animals_breedfraction_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="animals_breedfraction_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="animals_breedfraction_animal_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="GroupMembership",
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
                            ("Management", "Management"),
                            ("Milking", "Milking"),
                            ("Breeding", "Breeding"),
                            ("Feeding", "Feeding"),
                            ("Finishing", "Finishing"),
                        ],
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("starts_on", models.DateField()),
                ("ends_on", models.DateField(blank=True, null=True)),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="group_memberships",
                        to="animals.animal",
                    ),
                ),
                (
                    "group",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="memberships",
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
                "verbose_name": "group membership",
                "constraints": [
                    ifarm.core.constraints.NoOverlap(
                        end="ends_on",
                        message="The animal is in another group of this kind at that time.",
                        name="one_group_of_a_kind_at_a_time",
                        same=("animal", "kind"),
                        start="starts_on",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("ends_on", None), ("ends_on__gte", models.F("starts_on")), _connector="OR"
                        ),
                        name="group_left_after_joined",
                        violation_error_message="A group is left after it was joined.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="animals_groupmembership_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="animals_groupmembership_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="animals_groupmembership_animal_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="group", name="animals_groupmembership_group_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Movement",
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
                            ("Birth", "Birth"),
                            ("Arrival", "Arrival"),
                            ("Transfer", "Transfer"),
                            ("Departure", "Departure"),
                            ("Death", "Death"),
                        ],
                        max_length=9,
                    ),
                ),
                ("reason", models.CharField(blank=True, default="", max_length=20)),
                ("moved_at", models.DateTimeField()),
                ("counterpart", models.CharField(blank=True, default="", max_length=120)),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="movements",
                        to="animals.animal",
                    ),
                ),
                (
                    "from_farm",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="farms.farm",
                    ),
                ),
                (
                    "from_paddock",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="farms.paddock",
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
                    "to_farm",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="farms.farm",
                    ),
                ),
                (
                    "to_paddock",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="farms.paddock",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        models.F("animal"),
                        models.F("moved_at"),
                        models.F("id"),
                        name="movements_of_an_animal",
                    )
                ],
                "constraints": [
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="animals_movement_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(field="tenant", name="animals_movement_isolation"),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="animals_movement_animal_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="from_farm", name="animals_movement_from_farm_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="from_paddock", name="animals_movement_from_paddock_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="to_farm", name="animals_movement_to_farm_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="to_paddock", name="animals_movement_to_paddock_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Parentage",
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
                ("role", models.CharField(choices=[("Dam", "Dam"), ("Sire", "Sire")], max_length=4)),
                (
                    "relation",
                    models.CharField(
                        choices=[
                            ("Genetic", "Genetic"),
                            ("Recipient", "Recipient"),
                            ("Adoptive", "Adoptive"),
                        ],
                        default="Genetic",
                        max_length=9,
                    ),
                ),
                (
                    "child",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="parents",
                        to="animals.animal",
                    ),
                ),
                (
                    "parent",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="offspring",
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
                    models.UniqueConstraint(fields=("child", "role", "relation"), name="one_parent_per_role"),
                    models.CheckConstraint(
                        condition=models.Q(("child", models.F("parent")), _negated=True),
                        name="nobody_is_their_own_parent",
                        violation_error_message="An animal is not its own parent.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="animals_parentage_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(
                        field="tenant", name="animals_parentage_isolation"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="child", name="animals_parentage_child_same_tenant"
                    ),
                    ifarm.core.constraints.SameTenant(
                        field="parent", name="animals_parentage_parent_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Stay",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ifarm.core.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("modified_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField(blank=True, null=True)),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="stays",
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
                    "paddock",
                    ifarm.core.models.TenantForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="farms.paddock",
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
                        end="ends_at",
                        message="The animal was somewhere else at that time.",
                        name="one_place_at_a_time",
                        same=("animal",),
                        start="starts_at",
                    ),
                    ifarm.core.constraints.TenantKey(fields=("tenant", "id"), name="animals_stay_tenant_key"),
                    ifarm.core.constraints.TenantIsolation(field="tenant", name="animals_stay_isolation"),
                    ifarm.core.constraints.SameTenant(field="animal", name="animals_stay_animal_same_tenant"),
                    ifarm.core.constraints.SameTenant(field="farm", name="animals_stay_farm_same_tenant"),
                    ifarm.core.constraints.SameTenant(
                        field="paddock", name="animals_stay_paddock_same_tenant"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Weight",
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
                ("weighed_on", models.DateField()),
                ("weight_kg", models.DecimalField(decimal_places=2, max_digits=7)),
                (
                    "method",
                    models.CharField(
                        choices=[
                            ("LoadCell", "LoadCell"),
                            ("Girth", "Girth"),
                            ("Assessed", "Assessed"),
                            ("WalkOver", "WalkOver"),
                            ("Predicted", "Predicted"),
                            ("Imaged", "Imaged"),
                            ("FrontEndCorrelated", "FrontEndCorrelated"),
                            ("GroupAverage", "GroupAverage"),
                        ],
                        default="LoadCell",
                        max_length=18,
                    ),
                ),
                (
                    "animal",
                    ifarm.core.models.TenantForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="weights",
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
                "indexes": [
                    models.Index(
                        models.F("animal"),
                        models.F("weighed_on"),
                        models.F("id"),
                        name="weights_of_an_animal",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("weight_kg__gt", 0)),
                        name="weight_positive",
                        violation_error_message="A weight is more than nothing.",
                    ),
                    ifarm.core.constraints.TenantKey(
                        fields=("tenant", "id"), name="animals_weight_tenant_key"
                    ),
                    ifarm.core.constraints.TenantIsolation(field="tenant", name="animals_weight_isolation"),
                    ifarm.core.constraints.SameTenant(
                        field="animal", name="animals_weight_animal_same_tenant"
                    ),
                ],
            },
        ),
    ]
