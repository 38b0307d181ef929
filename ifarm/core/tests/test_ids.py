from datetime import UTC, datetime

from ifarm.core.ids import first_uuid7, uuid7


def test_keys_sort_by_the_time_they_were_made() -> None:
    keys = [uuid7() for _ in range(1000)]
    assert len(set(keys)) == 1000
    assert [key.int >> 80 for key in keys] == sorted(key.int >> 80 for key in keys)
    assert {key.version for key in keys} == {7}
    assert {key.variant for key in keys} == {"specified in RFC 4122"}


def test_no_key_is_below_the_first_of_a_time_before_keys() -> None:
    before, later = (first_uuid7(datetime(year, 9, 15, tzinfo=UTC)) for year in (451, 1971))
    assert before < later < uuid7()
    assert before.int >> 80 == 0
