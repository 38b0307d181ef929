"""A real Alembic project on two servers: its own templates, with the lines of the how-to page."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import alembic.command
import pytest
from alembic.command import current, downgrade, upgrade
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import IntegrityError, ProgrammingError

from understudy.demo.lab import Lab
from understudy.engines.postgresql.schema import statement
from understudy.model import Rpo

HEADER = "from alembic import op\nimport sqlalchemy as sa\nrevision, down_revision = {name!r}, {before!r}\n"
FIRST = """
def upgrade():
    op.create_table("herd", sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("name", sa.Text, unique=True))
    op.execute("INSERT INTO herd (name) VALUES ('100%'), ('two'); COMMENT ON TABLE herd IS '100%; of them'")

def downgrade():
    op.drop_table("herd")
"""
SECOND = """
def upgrade():
    op.add_column("herd", sa.Column("legs", sa.Integer, server_default="4", nullable=False))
    op.execute(sa.text("UPDATE herd SET legs = :legs WHERE name = 'two'").bindparams(legs=2))
    with op.get_context().autocommit_block():
        op.create_index("by_legs", "herd", ["legs"], postgresql_concurrently=True)

def downgrade():
    with op.get_context().autocommit_block():
        op.drop_index("by_legs", postgresql_concurrently=True)
    op.drop_column("herd", "legs")
"""


class Project:
    """What `alembic init` makes, led to the laboratory."""

    def __init__(self, lab: Lab, folder: Path, template: str) -> None:
        self.lab, self.folder = lab, folder
        # Without a file, so that its `fileConfig` leaves the logging of the other tests alone.
        self.config = Config(stdout=io.StringIO(), output_buffer=io.StringIO())
        self.config.set_main_option("script_location", str(folder / "alembic"))
        self.config.set_main_option("path_separator", "os")
        self.url = f"postgresql+understudy://demo?config={lab.config_file}"
        self.config.set_main_option("sqlalchemy.url", self.url)
        made = Config(folder / "alembic.ini")
        made.print_stdout = lambda *_: None  # type: ignore[method-assign]
        alembic.command.init(made, str(folder / "alembic"), template=template)
        env = folder / "alembic" / "env.py"
        text = env.read_text()
        offline, online = text.split("literal_binds", 1)
        assert "with context.begin_transaction():" in online
        online = online.replace("with context.begin_transaction():", "with both_nodes(context):")
        header = "from understudy.integrations.alembic import both_nodes\n"
        env.write_text(f"{header}{offline}literal_binds{online}")
        self.count = 0

    def add(self, body: str) -> str:
        """A migration after the last one; its name."""
        before = f"r{self.count}" if self.count else None
        self.count += 1
        name = f"r{self.count}"
        path = self.folder / "alembic" / "versions" / f"{name}.py"
        path.write_text(HEADER.format(name=name, before=before) + body)
        return name

    def __call__(self, command: Callable[..., None], *words: str, **options: bool) -> str:
        """A command of Alembic; what it printed."""
        self.config.stdout, self.config.output_buffer = io.StringIO(), io.StringIO()
        command(self.config, *words, **options)
        return self.config.stdout.getvalue() + self.config.output_buffer.getvalue()

    def command_line(self, *words: str) -> tuple[int, str]:
        """The same as a process of its own, with an `alembic.ini`: its code and what it printed."""
        ini = self.folder / "alembic.ini"
        ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", self.url))
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def schema(self, node: str) -> list[str]:
        with self.lab.connect(node) as connection:
            return [row[0] for row in connection.execute(statement("fingerprint").encode())]

    @property
    def same(self) -> list[str]:
        """The schema, which both nodes have."""
        assert self.schema("a") == self.schema("b")
        return self.schema("a")

    def await_replicated(self) -> None:
        """Wait until the standby has the newest rows, and compare everything."""
        self.lab.await_settled()
        assert self.lab.verify().equal

    def on_standby(self, text: str) -> None:
        with self.lab.connect(self.lab.state.other, "app") as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(text.encode())


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(mode=Rpo.BOUNDED, scale=1) as lab:
        yield lab


@pytest.fixture
def project(lab: Lab, tmp_path: Path) -> Iterator[Callable[[str], Project]]:
    """Make a project; afterwards both nodes are as before."""
    yield lambda template: Project(lab, tmp_path, template)
    for node in (lab.state.primary, lab.state.other):
        with lab.connect(node) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(
                "DROP TABLE IF EXISTS herd, alembic_version, other; DROP SCHEMA IF EXISTS yard CASCADE"
            )


@pytest.mark.parametrize("template", ["generic", "async"])
def test_up_and_down_on_both_nodes(project: Callable[[str], Project], template: str) -> None:
    farm = project(template)
    before = farm.same
    farm.add(FIRST)
    farm.add(SECOND)
    farm(upgrade, "head")
    assert any("by_legs" in line for line in farm.same)
    assert "r2 (head)" in farm(current)
    farm.await_replicated()  # the new tables' rows too, alembic_version among them
    with farm.lab.connect(farm.lab.state.other) as standby:
        assert standby.execute("SELECT name, legs FROM herd ORDER BY id").fetchall() == [
            ("100%", 4),
            ("two", 2),
        ]
        assert standby.execute("SELECT obj_description('herd'::regclass)").fetchone() == ("100%; of them",)
        assert standby.execute("SELECT version_num FROM alembic_version").fetchall() == [("r2",)]
    farm(downgrade, "r1")
    assert not any("legs" in line for line in farm.same)
    farm(downgrade, "base")
    assert [line for line in farm.same if "alembic_version" not in line] == before
    farm.await_replicated()


def test_what_fails_half_way_leaves_both_as_they_were(project: Callable[[str], Project]) -> None:
    farm = project("generic")
    farm.add(FIRST)
    farm(upgrade, "head")
    before = farm.same
    farm.add("""
def upgrade():
    op.add_column("herd", sa.Column("extra", sa.Integer))
    op.execute("ALTER TABLE not_there ADD COLUMN extra int")
""")
    with pytest.raises(ProgrammingError, match='relation "not_there" does not exist'):
        farm(upgrade, "head")
    assert farm.same == before
    farm.count -= 1
    farm.add("""
def upgrade():
    op.add_column("herd", sa.Column("mother", sa.BigInteger))
    op.create_foreign_key("m", "herd", "herd", ["mother"], ["id"], deferrable=True, initially="DEFERRED")
    op.execute("UPDATE herd SET mother = -1")
""")
    with pytest.raises(IntegrityError, match="violates foreign key"):  # found before either node commits
        farm(upgrade, "head")
    assert farm.same == before
    assert "r1" in farm(current)


def test_a_transaction_for_each_migration_keeps_those_that_were_done(
    project: Callable[[str], Project],
) -> None:
    farm = project("generic")
    env = farm.folder / "alembic" / "env.py"
    wide = "target_metadata=target_metadata, transaction_per_migration=True"
    env.write_text(env.read_text().replace("target_metadata=target_metadata", wide))
    farm.add(FIRST)
    farm.add("""
def upgrade():
    op.execute("UPDATE herd SET name = 'one' WHERE id = 1")
    op.alter_column("herd", "name", nullable=False)
    op.execute("ALTER TABLE not_there ADD COLUMN extra int")
""")
    with pytest.raises(ProgrammingError, match="not_there"):
        farm(upgrade, "head")
    assert any("herd: column name text" in line for line in farm.same)
    assert not any("name text not null" in line for line in farm.same)
    assert "r1" in farm(current)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("op.add_column('herd', sa.Column('at', sa.DateTime, server_default=sa.func.now()))", "has rows"),
        ("op.execute('DO $$ BEGIN CREATE TABLE t (id int PRIMARY KEY); END $$')", "Write its statements out"),
        (
            "op.execute('CREATE INDEX i ON herd (id); SELECT id INTO other FROM herd')",
            "would make the schemas differ",
        ),
        ("op.create_table('other', sa.Column('id', sa.Integer))", "not replicated yet"),
    ],
)
def test_what_would_part_the_nodes_is_refused(project: Callable[[str], Project], body: str, why: str) -> None:
    farm = project("generic")
    farm.add(FIRST)
    farm(upgrade, "head")
    before = farm.same
    farm.add(f"def upgrade():\n    {body}\n")
    with pytest.raises(CommandError, match=why):
        farm(upgrade, "head")
    assert [line for line in farm.same if "public.other" not in line] == before


def test_names_are_looked_up_as_on_the_primary(project: Callable[[str], Project]) -> None:
    farm = project("generic")
    for node in ("a", "b"):
        with farm.lab.connect(node, "postgres") as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("CREATE SCHEMA IF NOT EXISTS yard AUTHORIZATION app")
    farm.config.set_main_option("sqlalchemy.url", f"{farm.url}&options=-csearch_path%%3Dyard")
    farm.add("def upgrade():\n    op.create_table('hen', sa.Column('id', sa.Integer, primary_key=True))\n")
    farm(upgrade, "head")
    assert any(line.startswith("yard.hen") for line in farm.same)


def test_drift_is_refused_with_table_and_column(project: Callable[[str], Project]) -> None:
    farm = project("async")
    farm.add(FIRST)
    farm(upgrade, "head")
    farm.on_standby("ALTER TABLE herd ADD COLUMN stray int")
    farm.add(SECOND)
    with pytest.raises(
        CommandError, match=r"Make them equal by hand.*\s\+ public\.herd: column stray integer"
    ):
        farm(upgrade, "head")
    farm.on_standby("ALTER TABLE herd DROP COLUMN stray")
    farm(upgrade, "head")
    assert any("by_legs" in line for line in farm.same)


def test_without_its_standby_nothing_is_changed_and_what_reads_works(
    project: Callable[[str], Project],
) -> None:
    farm = project("generic")
    farm.add(FIRST)
    farm(upgrade, "head")
    before = farm.schema("a")
    farm.add(SECOND)
    standby = farm.lab.state.other
    farm.lab.servers[standby].kill()
    try:
        code, refused = farm.command_line("upgrade", "head")
        assert (code, "FAILED: " in refused, "Traceback" in refused) == (255, True, False)
        assert f"node {standby!r} does not answer" in refused
        assert "migrate again once both nodes are up" in refused
        assert "password" not in refused
        assert "r1" in farm(current)
        assert farm.schema("a") == before
        script = farm(upgrade, "r1:r2", sql=True)
        assert "CREATE INDEX CONCURRENTLY by_legs ON herd (legs)" in script
    finally:
        farm.lab.servers[standby].start()
    farm.lab.await_settled()
    farm(upgrade, "head")
    assert any("by_legs" in line for line in farm.same)
    farm.await_replicated()
