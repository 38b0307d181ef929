"""`Idempotency-Key`: a request that is sent again gets the first one's answer, and does nothing twice.

The answer is stored in the transaction of the effect, so there is never one without the other, also after a commit in
doubt, and kept for a week (`core.tasks`). Source: IETF draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from rest_framework.response import Response

from ifarm.core.actors import Actor
from ifarm.core.encoding import plain
from ifarm.core.errors import Busy, Invalid, KeyReused
from ifarm.core.locks import Lock, try_take
from ifarm.core.models import IdempotencyRecord

HEADER = "Idempotency-Key"
_KEPT = ("ETag", "Location")


def once(actor: Actor, request: Any, work: Callable[[], Response]) -> Response:
    """Do the work, or give the answer it had before. Inside the request's unit of work.

    Raises `KeyReused` (422) for another request, `Busy` (409) while the first is in progress. What fails leaves no
    record: it may be sent again.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return work()
    if not 1 <= len(key) <= 200 or not key.isprintable():
        raise Invalid(f"{HEADER}: expected 1 to 200 printable characters.")
    if not try_take(Lock.IDEMPOTENCY_KEY, f"{actor.tenant_id}/{actor.id}/{key}"):
        raise Busy("The same key is in use by a request that is not finished.", headers={"Retry-After": "1"})
    fingerprint = _fingerprint(request)
    before = IdempotencyRecord.objects.filter(actor_id=actor.id, key=key).first()
    if before is not None:
        if before.fingerprint != fingerprint:
            raise KeyReused(f"{HEADER} {key!r} was used for another request. Take a new key.")
        return Response(before.body, before.status, headers={**before.headers, "Idempotent-Replay": "true"})
    response = work()
    IdempotencyRecord(
        actor_id=actor.id,
        key=key,
        fingerprint=fingerprint,
        status=response.status_code,
        body=_without_secret(plain(response.data)),
        headers={name: response.headers[name] for name in _KEPT if name in response.headers},
    ).save(force_insert=True)
    return response


def _without_secret(body: Any) -> Any:
    """A secret is told once and kept nowhere: whoever asks again gets the rest."""
    return (
        {name: value for name, value in body.items() if name != "secret"} if isinstance(body, dict) else body
    )


def _fingerprint(request: Any) -> str:
    """Method, address, version and body: what makes two requests the same."""
    parts = (request.method, request.get_full_path(), request.headers.get("If-Match", ""))
    digest = hashlib.sha256("\n".join(parts).encode())
    digest.update(b"\0" + _content(request))
    return digest.hexdigest()


def _content(request: Any) -> bytes:
    """The body; of a form its fields and files, as the mark between them is another each time it is sent."""
    if not (request.content_type or "").startswith("multipart/form-data"):
        return bytes(request.body)
    digests = {
        name: hashlib.sha256(b"".join(file.chunks())).hexdigest() for name, file in request.FILES.items()
    }
    for file in request.FILES.values():
        file.seek(0)
    return json.dumps([sorted(request.POST.lists()), sorted(digests.items())]).encode()
