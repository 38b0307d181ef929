"""Coverage-guided fuzzing of the pgoutput decoder (atheris, which is libFuzzer for Python).

    .venv/bin/python tests/fuzz/fuzz_pgoutput.py tests/fuzz/corpus/pgoutput              until Ctrl-C
    .venv/bin/python tests/fuzz/fuzz_pgoutput.py -max_total_time=60 tests/fuzz/corpus/pgoutput

An input is a stream of messages, each after its length (two bytes). What must hold: every message decodes or raises
`PgoutputError`; what decodes is encoded and decoded again to the same; the assembler takes the messages in any order
or raises `PgoutputError`. Libfuzzer writes an input that breaks this to `crash-...`: put it into
`tests/fuzz/regressions/pgoutput` with the fix; `test_fuzz.py` replays that folder and the corpus in each test run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import atheris

    with atheris.instrument_imports(include=["understudy.engines.postgresql"]):
        from understudy.engines.postgresql import pgoutput, transactions
else:
    from understudy.engines.postgresql import pgoutput, transactions

from tests.unit.test_pgoutput import encode


def messages(data: bytes) -> Iterator[bytes]:
    """The stream cut at its lengths; the last piece may be short."""
    at = 0
    while at + 2 <= len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        yield data[at + 2 : end]
        at = end


def stream(parts: list[bytes]) -> bytes:
    """The input of these messages."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def one_input(data: bytes) -> None:
    """What the fuzzer calls. Raises where something does not hold."""
    assembler = transactions.Assembler()
    for raw in messages(data):
        try:
            message = pgoutput.decode(raw)
        except pgoutput.PgoutputError as error:
            assert 0 <= error.offset <= len(raw)
            continue
        if pgoutput.decode(encode(message)) != message:
            raise AssertionError(f"{raw!r} is not stable")
        try:
            for change in assembler.feed(message):
                assert change.relation.id in assembler.relations
        except pgoutput.PgoutputError:
            continue


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
