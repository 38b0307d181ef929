"""Pre-flight: everything that would stop or limit the protocol, each with what mends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import class_row

from understudy.engines.base import Finding, Severity
from understudy.engines.postgresql.rules import RULES
from understudy.engines.postgresql.schema import describe, describe_difference
from understudy.engines.postgresql.sessions import Sessions, masked
from understudy.errors import EngineError
from understudy.model import Node, Rpo

_Answer = TypeVar("_Answer")
_DATABASE = """
    SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system, d.oid::bigint AS oid,
           d.datname::text AS name, pg_encoding_to_char(d.encoding)::text AS encoding,
           d.datlocprovider::text AS provider, d.datcollate::text AS collate
    FROM pg_database d WHERE d.datname = current_database()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Database:
    """Which database a node is, and how it sorts."""

    system: str
    oid: int
    name: str
    encoding: str
    provider: str
    collate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    findings: list[Finding]
    database: _Database | None = None
    schema: tuple[str, ...] = ()


async def check(sessions: Sessions) -> Sequence[Finding]:
    """See `Engine.check`. A node that cannot be asked is a finding, not an error."""
    nodes = sessions.cluster.nodes
    seen = await asyncio.gather(*(_node(sessions, node) for node in nodes))
    findings = [finding for each in seen for finding in each.findings]
    if len(seen) == 2 and seen[0].database and seen[1].database:
        findings += _both(nodes, seen[0].database, seen[1].database)
        findings.append(_schemas(nodes, seen[0].schema, seen[1].schema))
    return findings


async def _node(sessions: Sessions, node: Node) -> _Seen:
    try:
        async with sessions.control(node.name, doing="check it") as connection:
            findings = [_finding(node.name, "connection", Severity.OK, "answers on admin_dsn")]
            for rule in RULES:
                if rule.zero_only and sessions.cluster.policy.rpo is not Rpo.ZERO:
                    continue
                cursor = await connection.execute(rule.query)
                rows = await cursor.fetchall()
                findings += [
                    _finding(
                        node.name,
                        rule.subject,
                        rule.severity,
                        rule.message.format(*row),
                        rule.mend.format(*row),
                    )
                    for row in rows
                ]
                if not rows:
                    findings.append(_finding(node.name, rule.subject, Severity.OK, "as it should be"))
            database = await _database(connection)
            schema = tuple(await describe(connection))
    except EngineError as error:
        return _Seen(findings=[_finding(node.name, "connection", Severity.ERROR, str(error))])
    findings += [await _application(sessions, node, database), await _replication(sessions, node, database)]
    return _Seen(findings=findings, database=database, schema=schema)


async def _database(connection: psycopg.AsyncConnection[Any]) -> _Database:
    cursor = connection.cursor(row_factory=class_row(_Database))
    await cursor.execute(_DATABASE)
    found = await cursor.fetchone()
    if found is None:
        raise EngineError("the server does not know the database of its own session")
    return found


async def _application(sessions: Sessions, node: Node, database: _Database) -> Finding:
    """Whether dsn leads applications to the same database. A change of primary is a bad moment to learn that."""
    subject = "dsn"
    found = await _asked(sessions, subject, node.dsn, _database)
    if isinstance(found, str):
        mend = "correct dsn, the password of its role, or pg_hba.conf"
        return _finding(node.name, subject, Severity.ERROR, found, mend)
    if (found.system, found.oid) != (database.system, database.oid):
        text = "dsn leads to another database than admin_dsn"
        return _finding(node.name, subject, Severity.ERROR, text, "correct the DSNs of this node")
    return _finding(node.name, subject, Severity.OK, "answers")


async def _replication(sessions: Sessions, node: Node, database: _Database) -> Finding:
    """Whether replication_dsn leads to the same database with a password. From here: the other node's way to
    it may differ."""
    subject = "replication_dsn"
    mend = "pg_hba.conf: a line for this role and database with method scram-sha-256; and correct the DSN"
    parameters = dict(conninfo_to_dict(node.replication_dsn)) | {"replication": "database"}
    parameters.pop("options", None)
    found = await _asked(sessions, subject, make_conninfo("", **parameters), _system)
    if isinstance(found, str):
        return _finding(node.name, subject, Severity.ERROR, found, mend)
    system, name, with_password = found
    if (system, name) != (database.system, database.name):
        text = "replication_dsn leads to another database than admin_dsn"
        return _finding(node.name, subject, Severity.ERROR, text, "correct the DSNs of this node")
    if not with_password:
        text = "the server asked for no password; a subscription of a plain role must log in with one"
        return _finding(node.name, subject, Severity.ERROR, text, mend)
    return _finding(node.name, subject, Severity.OK, "answers, with a password, seen from here")


async def _system(connection: psycopg.AsyncConnection[Any]) -> tuple[str, str, bool]:
    """System identifier and database behind a replication connection, and whether it took a password."""
    cursor = await connection.execute("IDENTIFY_SYSTEM")
    row = await cursor.fetchone() or ("", "", "", "")
    return str(row[0]), str(row[3]), connection.pgconn.used_password


async def _asked(
    sessions: Sessions,
    subject: str,
    dsn: str,
    question: Callable[[psycopg.AsyncConnection[Any]], Awaitable[_Answer]],
) -> _Answer | str:
    """What a connection of its own was answered, or a sentence on why there was no answer."""
    try:
        async with asyncio.timeout(sessions.cluster.policy.connect_timeout):
            connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
            async with connection:
                return await question(connection)
    except TimeoutError:
        return f"no answer on {subject}"
    except psycopg.Error as error:
        return f"{subject} is refused: {masked(str(error), sessions.cluster)}"


def _both(nodes: Sequence[Node], left: _Database, right: _Database) -> list[Finding]:
    """What only a look at both nodes shows; told of the second."""
    name = nodes[1].name
    findings = []
    if (left.system, left.oid) == (right.system, right.oid):
        text = f"is the same database as {nodes[0].name}"
        findings.append(
            _finding(name, "two databases", Severity.ERROR, text, "correct admin_dsn of one node")
        )
    else:
        findings.append(_finding(name, "two databases", Severity.OK, "is another database"))
    if left.encoding != right.encoding:
        text = f"encoding {right.encoding}, on {nodes[0].name} {left.encoding}"
        mend = f"CREATE DATABASE ... ENCODING '{left.encoding}' TEMPLATE template0;"
        findings.append(_finding(name, "encoding", Severity.ERROR, text, mend))
    elif (left.provider, left.collate) != (right.provider, right.collate):
        text = (
            f"collation {right.collate} (provider {right.provider}), on {nodes[0].name} {left.collate}"
            f" ({left.provider}): text sorts differently after a change of primary"
        )
        mend = f"CREATE DATABASE ... LC_COLLATE '{left.collate}' TEMPLATE template0;"
        findings.append(_finding(name, "encoding", Severity.WARNING, text, mend))
    else:
        findings.append(_finding(name, "encoding", Severity.OK, "the same encoding and collation"))
    return findings


def _schemas(nodes: Sequence[Node], left: Sequence[str], right: Sequence[str]) -> Finding:
    name = nodes[1].name
    if left and not right:
        return _finding(name, "schema", Severity.OK, f"empty: setup copies that of {nodes[0].name}")
    if difference := describe_difference(left, right):
        text = f"the schemas differ (- only {nodes[0].name}, + only {name}):\n{difference}"
        return _finding(name, "schema", Severity.ERROR, text, "run the missing DDL on the node that lacks it")
    return _finding(name, "schema", Severity.OK, "equal")


def _finding(node: str, subject: str, severity: Severity, message: str, mend: str = "") -> Finding:
    return Finding(node=node, subject=subject, severity=severity, message=message, mend=mend)
