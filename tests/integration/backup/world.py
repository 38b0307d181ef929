"""A pair that is set up, without an agent, whose application uses whatever PostgreSQL has; and one destination."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.agent_world import Servers, World, world_of
from tests.integration.conftest import make_pair

from understudy.backup import logical
from understudy.backup.catalog import Catalog
from understudy.backup.keys import Key, Keys
from understudy.backup.manifest import Level, Manifest, Verification
from understudy.backup.store import Store, open_store
from understudy.backup.verify import verify
from understudy.config import Config
from understudy.config_backup import Destination

RICH = r'''
    CREATE TYPE mood AS ENUM ('calm', 'wild');
    CREATE DOMAIN weight AS numeric CHECK (VALUE > 0);
    CREATE SCHEMA "Odd Schema";
    CREATE TABLE animal (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, mood mood, kilos weight,
        doc json, body jsonb, note xml, place point, seen timestamptz DEFAULT '2026-03-29 01:30+00', tags text[],
        big numeric, ratio float8, twice bigint GENERATED ALWAYS AS (length(name) * 2) STORED);
    CREATE INDEX ON animal (name) WHERE mood = 'calm';
    CREATE TABLE weighing (animal bigint REFERENCES animal, at date, kilos weight, PRIMARY KEY (animal, at))
        PARTITION BY RANGE (at);
    CREATE TABLE weighing_2025 PARTITION OF weighing FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE weighing_2026 PARTITION OF weighing FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE TABLE "Odd Schema"."Odd ""Table""" ("A a" int PRIMARY KEY, "select" text);
    CREATE TABLE bare (id int PRIMARY KEY);
    CREATE UNLOGGED TABLE cache (id int PRIMARY KEY, value text);
    CREATE TABLE parent (id int PRIMARY KEY, x text);
    CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
    CREATE MATERIALIZED VIEW heavy AS SELECT count(*) FROM animal;
    CREATE SEQUENCE tickets INCREMENT BY -3 MAXVALUE 100 START 100;
    CREATE FUNCTION loud(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
    INSERT INTO animal (name, mood, kilos, doc, body, place, tags, big, ratio)
        SELECT 'animal ' || n, (ARRAY['calm', 'wild', NULL])[n % 3 + 1]::mood, n, '{"a": 1, "a":2}', '{"b": [1]}',
            point(n, -n), ARRAY['x', NULL], 1.10 * n, n / 3.0 FROM generate_series(1, 3000) n;
    INSERT INTO weighing SELECT id, at, 2.50 FROM animal, (VALUES (date '2025-06-01'), ('2026-06-01')) AS d (at);
    INSERT INTO "Odd Schema"."Odd ""Table""" VALUES (1, 'x'), (2, NULL);
    INSERT INTO cache VALUES (1, 'warm');
    INSERT INTO parent VALUES (1, 'p');
    INSERT INTO child VALUES (2, 'c');
    REFRESH MATERIALIZED VIEW heavy;
    SELECT nextval('tickets'), nextval('tickets');
'''
LARGE = """
    CREATE TABLE large (id bigint PRIMARY KEY, text text);
    INSERT INTO large SELECT n * 3, repeat(md5(n::text), 2) FROM generate_series(1, 30000) n;
"""


@dataclass
class Backed:
    """What the tests of backups work on. ``made``: a backup of all of it."""

    world: World
    config: Config
    store: Store
    folder: Path
    keys: Keys

    @property
    def catalog(self) -> Catalog:
        return Catalog([self.store])

    @property
    def ids(self) -> list[str]:
        return [m.id for m in self.catalog.backups(self.world.name)]

    def create(self, **options: object) -> Manifest:
        return logical.create(self.config, self.world.pair.cluster, [self.store], self.keys, **options)  # type: ignore[arg-type]

    def verify(self, manifest: Manifest, level: Level = Level.RESTORE, **options: object) -> Verification:
        keys = options.pop("keys", self.keys)
        return verify(self.catalog, manifest, level, keys, self.config, **options)  # type: ignore[arg-type]

    def part(self, manifest: Manifest, name: str) -> Path:
        return self.folder / manifest.cluster / manifest.id / name

    def sql(self, text: str, *parameters: object, user: str = "app") -> list[tuple]:
        return self.world.pair.sql("a", text, *parameters, user=user)


def backed_of(world: World, folder: Path) -> Backed:
    """A destination in ``folder`` for a world whose state lies there too, or above."""
    place = folder / "backups"
    place.mkdir()
    config = Config(clusters=(world.pair.cluster,), directory=world.directory, source="test", warnings=())
    store = open_store(Destination(name="shelf", folder=place))
    return Backed(world=world, config=config, store=store, folder=place, keys=Keys(Key.new()))


@contextmanager
def backed_pair(servers: Servers, folder: Path, schema: str = "") -> Iterator[Backed]:
    """A pair of its own on the two servers. ``schema``: what the application does once it is set up."""
    pair = make_pair(servers)
    directory = folder / "state"
    directory.mkdir()
    with asyncio.Runner() as runner:
        manager = world_of(pair, directory)
        world = runner.run(manager.__aenter__())
        try:
            if schema:
                pair.sql("a", f"GRANT CREATE ON DATABASE {pair.database} TO app", user="postgres")
                pair.sql("a", schema)
            yield backed_of(world, folder)
        finally:
            runner.run(manager.__aexit__(None, None, None))


def target(backed: Backed, name: str, node: str = "b") -> str:
    """A DSN of the superuser for a database that is not there yet."""
    return backed.world.pair.servers[node].dsn(dbname=name)
