from django.db import migrations

from ifarm.core.ids import uuid7

# Codes of cattle are the usual three letters of herd books; for the other species they are ours.
BREEDS = {
    "Cattle": {
        "AAN": "Aberdeen Angus",
        "AYR": "Ayrshire",
        "BBL": "Belgian Blue",
        "BSW": "Brown Swiss",
        "CHA": "Charolais",
        "GUE": "Guernsey",
        "HER": "Hereford",
        "HOL": "Holstein",
        "JER": "Jersey",
        "LIM": "Limousin",
        "MON": "Montbéliarde",
        "NMD": "Normande",
        "SIM": "Simmental",
    },
    "Sheep": {"DOR": "Dorper", "LAC": "Lacaune", "MER": "Merino", "SUF": "Suffolk", "TEX": "Texel"},
    "Goat": {"ALP": "Alpine", "BOE": "Boer", "SAA": "Saanen", "TOG": "Toggenburg"},
    "Pig": {"DUR": "Duroc", "LAN": "Landrace", "LW": "Large White", "PIE": "Piétrain"},
    "Buffalo": {"MUR": "Murrah"},
    "Chicken": {"ISA": "ISA Brown", "LEG": "Leghorn", "LOH": "Lohmann Brown"},
}


def add(apps, editor):
    breed = apps.get_model("animals", "Breed")
    breed.objects.bulk_create(
        breed(id=uuid7(), species=species, code=code, name=name)
        for species, codes in BREEDS.items()
        for code, name in codes.items()
    )


class Migration(migrations.Migration):
    dependencies = [("animals", "0001_initial")]

    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
