"""The SQL of docs/how-to/upgrade-and-leave.md, word for word but for the cluster's name, on a real pair."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import psycopg
import pytest
from tests.integration.conftest import Pair

from understudy.engines.postgresql.engine import PostgreSQLEngine

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "upgrade-and-leave.md"
LEFT = """
    SELECT 'schema' FROM pg_namespace WHERE nspname = 'understudy' UNION ALL
    SELECT pubname FROM pg_publication UNION ALL
    SELECT subname FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database()
    UNION ALL SELECT slot_name FROM pg_replication_slots WHERE database = current_database()
"""


def documented(cluster: str) -> list[str]:
    """The blocks of SQL under *Leave*, for this cluster."""
    section = PAGE.read_text().partition("## Leave")[2]
    blocks = re.findall(r"^ *```sql\n(.*?)^ *```$", section, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block).replace("understudy_main", f"understudy_{cluster}") for block in blocks]


def run(pair: Pair, node: str, block: str) -> None:
    """As psql does: the first line's SET holds for the rest, which is one request."""
    first, _, rest = block.partition(";\n")
    with psycopg.connect(pair.cluster.node(node).admin_dsn, autocommit=True) as connection:
        connection.execute(first)
        if rest.strip():
            connection.execute(rest)


@pytest.mark.usefixtures("engine")
def test_nothing_is_left_of_a_pair_and_its_primary_writes(pair: Pair) -> None:
    objects, slots = documented(pair.cluster.name)
    assert all(pair.sql(node, LEFT, user="postgres") for node in "ab")
    for block in (objects, slots):
        for node in "ab":
            run(pair, node, block)
    assert [pair.sql(node, LEFT, user="postgres") for node in "ab"] == [[], []]
    pair.sql("a", "INSERT INTO item (name) VALUES ('free')")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        pair.sql("b", "INSERT INTO item (name) VALUES ('still a copy')")


async def test_the_page_names_what_the_engine_makes(engine: PostgreSQLEngine, pair: Pair) -> None:
    (publication,) = pair.sql("a", "SELECT pubname FROM pg_publication")
    assert publication == (f"understudy_{engine.cluster.name}",)
