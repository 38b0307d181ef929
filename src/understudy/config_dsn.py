"""Connection strings: hide their secrets, read them, build them. No network.

A DSN that cannot be read is never quoted in an error, not even in part: with an unescaped ``@`` or ``/`` in a
password, what libpq takes for the host or the database name *is* a piece of the password.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from understudy.errors import ConfigError

MAX_LENGTH = 4096
EXPECTED = "a libpq URI such as postgresql://user:password@host:5432/dbname"
ENCODE = "percent-encode special characters in the password (@ is %40, / is %2F, : is %3A, % is %25)"

# --- mask ---------------------------------------------------------------------------------------------------

_STARS = "****"
_KEY = r"(?:password|passwd|pwd|passphrase|secret|token|api_?key|service_?key|supabase_key|scram_\w+_key)"
_QUERY = re.compile(rf"([?&;]\w{{0,20}}{_KEY}=)[^&\s]*(?:&(?!\w+=)[^&\s]*)*", re.IGNORECASE)
_BARE = r"(?:\\.|\S)*"
_KEYWORD = re.compile(
    rf"({_KEY}\\?[\"']?(?:\s*=\s*|[ \t]*:[ \t]*(?!//|expected )))(?!\*{{4}}(?:[&\s,;)}}\]]|\Z))"
    r"(?:(?:'(?:\\.|[^'\\])*(?:'|\\?\Z)|\"(?:\\.|[^\"\\])*(?:\"|\\?\Z))(?=[\s,;)}\]]|\Z)"
    rf"|'(?:\\.|[^'\\])*(?:'|\\?\Z){_BARE}|\"(?:\\.|[^\"\\])*(?:\"|\\?\Z){_BARE}|(?=\S){_BARE})",
    re.IGNORECASE | re.DOTALL,
)
_LIBPQ = re.compile(
    r"(missing \"=\" after |percent-encoded (?:token|value): |in URI\b[^\n]{0,200}?: "
    r"|URI query parameter: |unexpected spaces found in |invalid connection option "
    r"|invalid port number: )\".*\"",
    re.DOTALL,
)
_PORT = re.compile(r"(invalid integer value )\"(?![0-9]{1,5}\")[^\n]*\"(?= for connection option)")
_HOST_AT = re.compile(r"((?:host name|at|host) [\"'])[^\n]*@([^\"'\n@]*[\"'])")
_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]{1,30}://", re.IGNORECASE)
_NEXT_URI = re.compile(r"\s[\"'(\[<]?[a-z][a-z0-9+.\-]{1,30}://", re.IGNORECASE)
_FAR_AT = re.compile(r"@(?=[^\s/@?]+[/?])")
_HOST_PORT = re.compile(r"[^\s:/@]*:[0-9]{1,5}(?:[/?][^@\s]*)?[,.;:)\]\"']*")
_LONE_TOKEN = ("redis", "http", "amqp", "mongodb")


def mask(text: str) -> str:
    """Return ``text`` with every password in it replaced by ``****``; safe on any error text or DSN.

    Hidden are the password of URIs (``postgresql://user:****@host``, any scheme, also unescaped ones), of
    ``key=value`` strings and of environment assignments (``password=``, ``sslpassword=``, ``PGPASSWORD=``,
    ``...token=`` and the like, with ``:`` too), and what libpq quotes when it cannot parse a DSN. Where it
    is unclear how far a password reaches, more is hidden rather than less. Never raises.
    """
    text = _LIBPQ.sub(rf'\1"{_STARS}"', text)
    text = _PORT.sub(rf'\1"{_STARS}"', text)
    text = _QUERY.sub(rf"\1{_STARS}", text)
    text = _KEYWORD.sub(rf"\1{_STARS}", text)
    text = "\n".join(_mask_uris(line) for line in text.split("\n"))
    return _HOST_AT.sub(rf"\1{_STARS}@\2", text)


def _mask_uris(line: str) -> str:
    """Hide the password of every URI in one line."""
    out: list[str] = []
    position = 0
    while match := _SCHEME.search(line, position):
        out.append(line[position : match.end()])
        region = line[match.end() : _region_end(line, match)]
        shown, used = _mask_userinfo(match.group(), region)
        out.append(shown)
        position = match.end() + used
    return "".join(out) + line[position:]


def _region_end(line: str, scheme: re.Match[str]) -> int:
    """Where the URI ends at the latest: the next URI, the closing quote, or the end of the line."""
    following = _NEXT_URI.search(line, scheme.end())
    end = following.start() if following else len(line)
    mark = line[scheme.start() - 1 : scheme.start()]
    if mark and mark in "\"'`":
        closing = re.compile(re.escape(mark) + r"[,;:)}\].]*(?=\s|$)").search(line, scheme.end(), end)
        end = closing.start() if closing else end
    return end


def _mask_userinfo(scheme: str, region: str) -> tuple[str, int]:
    """What to show for the user part of a URI, and how many characters of ``region`` that stands for."""
    token = region.split(maxsplit=1)[0] if region[:1].strip() else ""
    cut = max(token.rfind("@"), *(m.start() for m in _FAR_AT.finditer(region)), -1)
    if cut < 0 and ":" in token and not _HOST_PORT.fullmatch(token):
        cut = region.rfind("@")
    if cut < 0:
        return "", 0
    user, colon, _ = region[:cut].partition(":")
    if not colon:
        lone = scheme.lower().startswith(_LONE_TOKEN)
        return (_STARS if lone else region[:cut]), cut
    return f"{user}:{_STARS}", cut


# --- read ---------------------------------------------------------------------------------------------------

_SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FOREIGN = {  # parameters of Prisma, SQLAlchemy and hosting panels that libpq refuses
    "schema", "connection_limit", "pool_timeout", "pool_size", "pgbouncer", "socket_timeout", "sslaccept",
    "statement_cache_size", "sslidentity", "single_use_connections", "supa", "prepared_statements",
}  # fmt: skip
_OTHER_SCHEMES = ("mysql", "mariadb", "redis", "rediss", "mongodb", "mongodb+srv", "sqlite", "http", "https")
_OUR_SCHEME = re.compile(r"(?:postgres|postgresql|pgsql|postgis)(?:\+[a-z0-9_]+)?://", re.IGNORECASE)
_HOSTNAME = re.compile(r"\w[\w.\-]{0,252}")
_PROVIDERS = (
    (".supabase.co", "supabase"), (".supabase.com", "supabase"), (".neon.tech", "neon"),
    (".rds.amazonaws.com", "rds"), (".railway.app", "railway"), (".rlwy.net", "railway"),
    (".railway.internal", "railway"), (".database.azure.com", "azure"), (".render.com", "render"),
    (".aivencloud.com", "aiven"), (".ondigitalocean.com", "digitalocean"), (".fly.dev", "fly"),
    (".flycast", "fly"), (".timescale.com", "timescale"), (".crunchybridge.com", "crunchy"),
    (".compute-1.amazonaws.com", "heroku"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dsn:
    """One checked connection string. ``text`` is a libpq URI and holds the password; ``repr`` leaves it out.

    Args:
        port: the port libpq will use (5432 unless given).
        sslmode: as given, or empty.
        notes: what was changed to make libpq accept it, one sentence each, without secrets.
    """

    text: str = field(repr=False)
    host: str = field(repr=False)
    port: int
    dbname: str = field(repr=False)
    sslmode: str
    notes: tuple[str, ...] = ()

    @property
    def local(self) -> bool:
        """The server is on this host (socket or loopback)."""
        if self.host.startswith(("/", "@")) or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def pooler(self) -> bool:
        """The endpoint is a pooler of Supabase or Neon, which carries no replication."""
        host = self.host
        neon = host.endswith(".neon.tech") and "-pooler." in host
        return neon or self.port == 6543 or host.endswith("pooler.supabase.com")

    @property
    def endpoint(self) -> tuple[str, int, str]:
        """Host, port and database: equal for two DSNs of the same database (as far as names can tell)."""
        host = "localhost" if self.local and not self.host.startswith(("/", "@")) else self.host
        port = 0 if self.provider == "supabase" else self.port
        return host, port, self.dbname

    @property
    def provider(self) -> str:
        """The hosting provider guessed from the host name, or ``self-hosted``."""
        return next((name for suffix, name in _PROVIDERS if self.host.endswith(suffix)), "self-hosted")


def parse_dsn(text: object, where: str) -> Dsn:
    """Check a libpq URI or ``key=value`` string; ``where`` names its place in errors.

    SQLAlchemy's ``postgresql+driver://`` and Prisma's query parameters are accepted (see ``Dsn.notes``).
    Raises ConfigError, which never quotes any part of ``text``.
    """
    if not isinstance(text, str):
        raise ConfigError(where, EXPECTED, f"a {type(text).__name__}")
    text = text.strip()
    if not text or len(text) > MAX_LENGTH:
        found = "an empty text" if not text else f"{len(text)} characters (limit {MAX_LENGTH})"
        raise ConfigError(where, EXPECTED, found)
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise ConfigError(where, EXPECTED, "a text with control characters or invalid UTF-8")
    text, notes = _normalise(text, where)
    params = _libpq(text, where)
    host, port, dbname = _endpoint(params, where)
    sslmode = params.get("sslmode", "")
    if sslmode and sslmode not in _SSLMODES:
        raise ConfigError(where, f"sslmode to be one of {', '.join(_SSLMODES)}", "another value")
    uri = text if _SCHEME.match(text) else build_uri(params)
    if uri is not text and _libpq(uri, where) != params:
        uri = text
    return Dsn(uri, host, port, dbname, sslmode, notes)


def _normalise(text: str, where: str) -> tuple[str, tuple[str, ...]]:
    """Drop the driver of the scheme and the parameters that only other tools know."""
    scheme = _OUR_SCHEME.match(text)
    if not scheme:
        if found := _SCHEME.match(text):
            name = found.group()[:-3].lower()
            raise ConfigError(
                where, EXPECTED, f"a {name} URL" if name in _OTHER_SCHEMES else "another kind of URL"
            )
        return text, ()
    text = "postgresql://" + text[scheme.end() :]
    at = text.rfind("@") + 1
    base, mark, query = text[at:].partition("?")
    if not mark:
        return text, ()
    pairs = [p for p in query.split("&") if p]
    dropped = [p for p in pairs if p.partition("=")[0].lower() in _FOREIGN]
    if any(p.startswith("schema=") and unquote(p) != "schema=public" for p in dropped):
        hint = "remove schema= and give the role a search_path: ALTER ROLE ... SET search_path = ..."
        raise ConfigError(
            where, "tables to be found through the role's search_path", "a schema= parameter", hint
        )
    kept = "&".join(p for p in pairs if p not in dropped)
    text = text[:at] + base + (f"?{kept}" if kept else "")
    names = ", ".join(sorted({p.partition("=")[0].lower() for p in dropped}))
    return text, (
        (f"{where}: parameters that only other tools know were left out ({names}).",) if names else ()
    )


def _libpq(text: str, where: str) -> dict[str, str]:
    """The parameters as libpq reads them."""
    try:
        return {k: str(v) for k, v in conninfo_to_dict(text).items() if v is not None}
    except (psycopg.Error, ValueError) as error:
        reason = str(error)
    uri = _SCHEME.match(text) is not None
    hint = ENCODE if uri else "quote values that hold spaces: password='a b'"
    if "query parameter" in reason or "invalid connection option" in reason:
        hint = _known_parameter(text) or hint
        raise ConfigError(where, EXPECTED, "a parameter that libpq does not know", hint)
    if "percent-encoded" in reason:
        raise ConfigError(where, EXPECTED, "a % that begins no percent-encoding", ENCODE)
    if "unterminated" in reason:
        raise ConfigError(where, EXPECTED, "a quote that is never closed", hint)
    raise ConfigError(where, EXPECTED, "a text that libpq cannot read", hint) from None


def _known_parameter(text: str) -> str:
    """A hint about a misspelt parameter that does not repeat what was written."""
    known = [o.keyword.decode() for o in pq.Conninfo.get_defaults()]
    for key in re.findall(r"(?:^|[?&\s])(\w+)\s*=", text):
        close = difflib.get_close_matches(key, known, 1, 0.75)
        if key not in known and close:
            return f"did you mean {close[0]}?"
    return ""


def _endpoint(params: Mapping[str, str], where: str) -> tuple[str, int, str]:
    """Host (lower case), port and database name, each checked."""
    host = params.get("host") or params.get("hostaddr", "")
    port, dbname = params.get("port", "5432"), params.get("dbname", "")
    if not host:
        raise ConfigError(where, EXPECTED, "no host")
    if "," in host or "," in port:
        raise ConfigError(where, "one host per node", "a list of hosts", "write one node for each database")
    if not is_host(host):
        raise ConfigError(where, EXPECTED, "a host that is no host name", ENCODE)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ConfigError(where, EXPECTED, "a port that is no number from 1 to 65535", ENCODE)
    if not dbname:
        raise ConfigError(where, EXPECTED, "no database name")
    if re.search(r"[@/=:?#\s]", dbname) or len(dbname) > 63:
        raise ConfigError(where, EXPECTED, "a database name with special characters or more than 63", ENCODE)
    return host if host.startswith(("/", "@")) else host.lower().rstrip("."), int(port), dbname


def is_host(host: str) -> bool:
    """A host name, an IP address or the directory of a socket."""
    if host.startswith("/") or _HOSTNAME.fullmatch(host):
        return "@" not in host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def build_uri(params: Mapping[str, str]) -> str:
    """A libpq URI from parameters (``host``, ``user``, ``password``, ...), every value percent-encoded."""
    user, host = quote(params.get("user", ""), safe=""), params.get("host", "")
    auth = user + (":" + quote(params["password"], safe="") if params.get("password") else "")
    place = f"[{host}]" if ":" in host else quote(host, safe="")
    port = ":" + quote(params["port"], safe="") if params.get("port") else ""
    rest = {k: v for k, v in params.items() if k not in ("user", "password", "host", "port", "dbname")}
    query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in rest.items())
    uri = f"postgresql://{auth + '@' if auth else ''}{place}{port}/{quote(params.get('dbname', ''), safe='')}"
    return uri + (f"?{query}" if query else "")
