from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ifarm.api.tests.examples import Examples, Ids

examples = Examples()
Row = dict[str, Any]


def tag(value: str) -> Row:
    return {"scheme": "ifarm.ear-tag", "id": value}


def meta(source_id: str) -> Row:
    return {"source": "org.example", "sourceId": source_id, "modified": "2024-06-01T08:00:00Z"}


def event(animal: str, moment: str, source_id: str, **more: Any) -> Row:
    return {"meta": meta(source_id), "animal": tag(animal), "eventDateTime": moment, **more}


def described(value: str, **more: Any) -> Row:
    return {
        "meta": meta(f"animal {value}"),
        "identifier": tag(value),
        "specie": "Cattle",
        "gender": "Female",
        "birthDate": "2023-03-01T12:00:00Z",
        **more,
    }


ROWS: dict[str, Row] = {
    "animals": described("XX 1", status="OffFarm", gender="Male"),
    "births": event("XX 2", "2024-02-01T08:00:00Z", "b1", animalDetail=described("XX 2")),
    "arrivals": event(
        "XX 3", "2024-02-01T08:00:00Z", "a1", arrivalReason="Purchase", animalDetail=described("XX 3")
    ),
    "departures": event("AT 200", "2024-08-01T08:00:00Z", "d1", departureReason="Sale"),
    "deaths": event("AT 200", "2024-08-01T08:00:00Z", "x1", deathReason="Disease"),
    "weights": event(
        "AT 100", "2024-06-02T08:00:00Z", "w1", weight={"measurement": 421.5, "method": "Girth"}
    ),
    "milking-visits": {
        "meta": meta("m1"),
        "animal": tag("AT 200"),
        "milkingStartingDateTime": "2024-01-05T17:10:00Z",
        "milkingMilkWeight": {"unitCode": "KGM", "value": 12.5},
        "milkCharacteristics": [{"characteristic": "FAT", "value": "4.1"}],
    },
    "test-day-results": event(
        "AT 200", "2024-01-08T12:00:00Z", "t1", milkWeight24Hours={"unitCode": "KGM", "value": 28.4}
    ),
    "treatments": event(
        "AT 100",
        "2024-05-20T08:00:00Z",
        "r1",
        medicine={"name": "Penicillin"},
        dose={"doseQuantity": 12.5, "doseUnits": "MLT"},
    ),
    "heats": event("AT 100", "2024-06-10T12:00:00Z", "h1", heatDetectionMethod="Collar"),
    "inseminations": event("AT 100", "2024-07-01T12:00:00Z", "i1", inseminationType="Insemination"),
    "pregnancy-checks": event(
        "AT 100", "2024-08-01T12:00:00Z", "c1", method="Ecography", result="Pregnant", foetalAge=31
    ),
    "abortions": event("AT 100", "2024-09-01T12:00:00Z", "o1"),
    "parturitions": event(
        "AT 100",
        "2025-03-10T12:00:00Z",
        "p1",
        calvingEase="EasyAssisted",
        progenyDetails=[{"identifier": tag("XX 9"), "gender": "Female"}],
    ),
}


def _batch(row: Row) -> Callable[[Ids, int], Any]:
    def body(ids: Ids, number: int) -> Any:
        for name in ("animal_id", "mother_id", "medicine_id"):
            _ = ids[name]
        return [row]

    return body


for _name, _row in ROWS.items():
    examples.body(f"icar-{_name}-batch", "POST")(_batch(_row))
