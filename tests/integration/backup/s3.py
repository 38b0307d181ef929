"""Servers that speak S3, on loopback: moto and MiniStack; and a proxy before them that has bad days.

moto refuses parts under 5 MiB, as Amazon does; MiniStack refuses bodies that do not fit their checksum. Neither is
the real thing, so every test of a bucket runs against both.
"""

from __future__ import annotations

import functools
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from understudy.backup.store_s3 import BucketStore
from understudy.config_backup import MIB, Destination
from understudy.embedded import processes
from understudy.embedded.postgresql import HOST, free_port

SERVERS = ("moto", "ministack")
ACCESS, SECRET = "test", "test"
BUCKET = "farm-backups"
START_S = 60.0


class S3Server:
    """One server in a process of its own; ends with the thread that started it, at the latest.

    Args:
        strict: know one access key only (MiniStack; its secret is not looked at).
    """

    def __init__(self, kind: str, *, strict: bool = False) -> None:
        self.kind, self.port, self._strict = kind, free_port(), strict
        self.endpoint = f"http://{HOST}:{self.port}"
        self._folder = Path(tempfile.mkdtemp(prefix=f"understudy-{kind}-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        environ |= {"BIND_HOST": HOST, "GATEWAY_PORT": str(self.port), "TMPDIR": str(self._folder)}
        environ |= {"S3_DATA_DIR": str(self._folder / "s3"), "SERVICES": "s3", "LOG_LEVEL": "ERROR"}
        environ["AUTH"] = str(self._strict).lower()
        command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)]
        if self.kind == "ministack":
            command = [sys.executable, "-m", "ministack"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=functools.partial(processes.die_with_parent, signal.SIGKILL),  # noqa: PLW1509
            )  # fmt: skip
        self._wait()
        self.client().create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def client(self) -> Any:
        """boto3's client, to look at the bucket from outside."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET, config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:  # the server offers no event: only its port tells
            if self._process.poll() is not None:
                break
            try:
                connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
                connection.request("GET", "/")
                connection.getresponse().read()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"{self.kind} did not start: {(self._folder / 'log').read_text()[-2000:]}")


def destination(endpoint: str, **changes: Any) -> Destination:
    """A bucket of such a server, as configured."""
    given = {
        "name": "cloud", "bucket": BUCKET, "prefix": "", "endpoint": endpoint, "access_key": ACCESS,
        "secret_key": SECRET, "part_bytes": 5 * MIB,
    }  # fmt: skip
    return Destination(**{**given, **changes})


def bucket_store(endpoint: str, retry_seconds: float = 60.0, **changes: Any) -> BucketStore:
    """A store in that bucket that loses patience sooner than a real one."""
    return BucketStore(destination(endpoint, **changes), retry_seconds=retry_seconds)


class MoodyProxy:
    """Forwards requests of HTTP, and answers some of them itself, with an error of S3.

    ``answer(status, code, times, matching)``: the next so many requests whose line (``PUT /bucket/key?...``) matches.
    ``cut(times, matching)``: the next so many answers break off after half of their body.
    ``hold(matching)``, ``lose(times, matching)`` and ``refuse_delete(matching)``: see there.
    """

    def __init__(self, target_port: int) -> None:
        self.asked: list[str] = []
        self.taken: list[tuple[str, int]] = []
        """The requests that reached the server, and the bytes of their bodies."""
        self._answers: list[tuple[re.Pattern[str], int, str]] = []
        self._cuts: list[re.Pattern[str]] = []
        self._lost: list[re.Pattern[str]] = []
        self._kept: list[re.Pattern[str]] = []
        self._held: re.Pattern[str] | None = None
        self.holding, self._go = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self, target_port))
        self._server.daemon_threads = True
        self.endpoint = f"http://{HOST}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.calm()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, status: int, code: str, times: int = 1, matching: str = "") -> None:
        with self._lock:
            self._answers += [(re.compile(matching), status, code)] * times

    def cut(self, times: int = 1, matching: str = "GET") -> None:
        with self._lock:
            self._cuts += [re.compile(matching)] * times

    def lose(self, times: int = 1, matching: str = "") -> None:
        """The next so many requests are carried out, and their answers never arrive."""
        with self._lock:
            self._lost += [re.compile(matching)] * times

    def hold(self, matching: str) -> None:
        """The next request that matches waits for `calm`, and the server never sees it; ``holding`` is set then."""
        with self._lock:
            self.holding.clear()
            self._go.clear()
            self._held = re.compile(matching)

    def holds(self, line: str) -> bool:
        """Whether this request is the one to wait; returns when it has."""
        with self._lock:
            held = self._held is not None and self._held.search(line) is not None
            if held:
                self._held = None
        if held:
            self.holding.set()
            self._go.wait()
        return held

    def refuse_delete(self, matching: str) -> None:
        """Keys that match are not deleted, as under Object Lock with a server that makes no delete markers."""
        with self._lock:
            self._kept.append(re.compile(matching))

    def calm(self) -> None:
        """No more of it."""
        with self._lock:
            for moods in (self._answers, self._cuts, self._lost, self._kept):
                moods.clear()
            self._held = None
            self._go.set()

    def mood(self, line: str) -> tuple[int, str] | None:
        """The error for this request, or None."""
        with self._lock:
            self.asked.append(line)
            for index, (pattern, status, code) in enumerate(self._answers):
                if pattern.search(line):
                    del self._answers[index]
                    return status, code
        return None

    def breaks(self, line: str) -> bool:
        """Whether the answer to this request breaks off."""
        return self._due(self._cuts, line)

    def loses(self, line: str) -> bool:
        """Whether the answer to this request is lost."""
        return self._due(self._lost, line)

    def keeps(self, key: str) -> bool:
        """Whether this key may not be deleted."""
        with self._lock:
            return any(pattern.search(key) for pattern in self._kept)

    def _due(self, moods: list[re.Pattern[str]], line: str) -> bool:
        with self._lock:
            for index, pattern in enumerate(moods):
                if pattern.search(line):
                    del moods[index]
                    return True
        return False


def refusal(keys: Iterable[str]) -> bytes:
    """The answer to a request to delete of which these keys were refused."""
    refused = "".join(f"<Error><Key>{key}</Key><Code>AccessDenied</Code></Error>" for key in keys)
    return f"<DeleteResult>{refused}</DeleteResult>".encode()


class _Handler(BaseHTTPRequestHandler):
    """Passes a request on, as far as the proxy's moods let it. `_handler` fills in the two."""

    proxy: MoodyProxy
    target_port: int
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def forward(self) -> None:
        line = f"{self.command} {self.path}"
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.proxy.holds(line):
            self.close_connection = True
            return
        if mood := self.proxy.mood(line):
            self.refuse(*mood)
            return
        self.proxy.taken.append((line, len(body)))
        kept: list[str] = []
        if line.startswith("POST") and "delete" in self.path:
            body, kept = self.without_kept(body)
            if b"<Object>" not in body:
                self.reply(200, refusal(kept))
                return
        answer, content = self.ask(body, changed=bool(kept))
        if self.proxy.loses(line):
            self.close_connection = True
            return
        self.tell(line, answer, refusal(kept) if kept else content)

    def without_kept(self, body: bytes) -> tuple[bytes, list[str]]:
        """A request to delete without the objects that the proxy keeps, and their keys."""
        kept = [key for key in re.findall("<Key>([^<]*)</Key>", body.decode()) if self.proxy.keeps(key)]
        for key in kept:
            body = body.replace(f"<Object><Key>{key}</Key></Object>".encode(), b"")
        return body, kept

    def ask(self, body: bytes, *, changed: bool) -> tuple[http.client.HTTPResponse, bytes]:
        """The server's answer. ``changed``: what describes the body no longer fits."""
        connection = http.client.HTTPConnection(HOST, self.target_port, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        left_out = {"connection", "expect"} | ({"content-length", "content-md5"} if changed else set())
        for name, value in self.headers.items():
            if name.lower() not in left_out:
                connection.putheader(name, value)
        if changed:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def tell(self, line: str, answer: http.client.HTTPResponse, content: bytes) -> None:
        """The answer as the client gets it: whole, or cut in its middle."""
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if content and self.proxy.breaks(line):
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content)

    def refuse(self, status: int, code: str) -> None:
        self.reply(status, f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode())

    def reply(self, status: int, text: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def _handler(proxy: MoodyProxy, target_port: int) -> type[_Handler]:
    return type("Handler", (_Handler,), {"proxy": proxy, "target_port": target_port})
