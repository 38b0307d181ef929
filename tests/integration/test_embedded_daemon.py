"""When a foreign program counts as started: it listens in all of its places, not in the first of them only."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from understudy.embedded.daemon import Daemon, Place
from understudy.embedded.haproxy import EmbeddedHaproxy, driven
from understudy.embedded.postgresql import free_port

LATE = """
use strict; use IO::Socket::INET; use IO::Socket::UNIX;
my ($number, $path) = @ARGV;
my $port = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$number", Listen => 9, ReuseAddr => 1) or die $@;
my @asked = map { scalar $port->accept } 1 .. 3;  # it listens at its socket when it was looked for three times
my $late = IO::Socket::UNIX->new(Local => $path, Listen => 9) or die $@;
push @asked, scalar $port->accept while 1;
"""  # Perl, as every Debian has one that an unprivileged user can run; the Python of these tests may not be


class Late(Daemon):
    """A program that listens on its port at once, and at its socket later: HAProxy has the same order."""

    def __init__(self) -> None:
        super().__init__("perl", free_port())
        self.socket = self.folder / "late.sock"
        self._script: Path = self._write("late.pl", LATE)

    def _arguments(self) -> list[str]:
        return [str(self._script), str(self.port), str(self.socket)]

    def _places(self) -> Sequence[Place]:
        return [*super()._places(), (socket.AF_UNIX, str(self.socket))]


def test_a_program_is_ready_when_it_listens_in_all_of_its_places() -> None:
    with Late() as late, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(late.socket))


def test_haproxy_is_waited_for_at_its_runtime_api_where_it_has_one() -> None:
    def places(socket_too: bool) -> int:
        configuration = driven({}) if socket_too else (lambda _port, _socket: "")
        haproxy = EmbeddedHaproxy(configuration)
        haproxy.__exit__()  # its folder
        return len(haproxy._places())

    assert (places(False), places(True)) == (1, 2)
