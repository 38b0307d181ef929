from ifarm.core.ids import uuid7


def test_keys_sort_by_the_time_they_were_made() -> None:
    keys = [uuid7() for _ in range(1000)]
    assert len(set(keys)) == 1000
    assert [key.int >> 80 for key in keys] == sorted(key.int >> 80 for key in keys)
    assert {key.version for key in keys} == {7}
    assert {key.variant for key in keys} == {"specified in RFC 4122"}
