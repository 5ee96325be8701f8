"""The heads of an OCR request: of the JSON that goes up, and what the response's head says of the deployment."""

from __future__ import annotations

import re
from typing import Final

from ..deployments.deployment import Deployment
from ..deployments.tries import Tries
from ..headers import Field
from ..prepared import PreparedRequest
from ..request_head import RequestHead

_DESCRIBES: Final = frozenset(
    {b"content-length", b"content-encoding", b"transfer-encoding", b"content-type", b"content-md5", b"content-digest"}
)
_JSON: Final = (b"content-type", b"Content-Type", b"application/json")
_OURS: Final = frozenset(
    {
        b"x-litellm-model-id",
        b"x-litellm-model-group",
        b"x-litellm-attempted-retries",
        b"x-litellm-attempted-fallbacks",
        b"x-litellm-model-api-base",
        b"x-passthrough-deployment",
    }
)
"""The fields of a model's response that are the proxy's to send; a provider may be a proxy, too."""

_UNSHOWN: Final = re.compile("[^ -~]")


def head_of_json(head: RequestHead, length: int) -> RequestHead:
    """Return the head of a request whose body is JSON of this length, in no coding; without the client's query."""
    kept: list[Field] = [each for each in head.fields if each[0] not in _DESCRIBES]
    own = (_JSON, (b"content-length", b"Content-Length", b"%d" % length))
    return RequestHead("POST", head.path, None, (*kept, *own), head.nominated - _DESCRIBES, False, True, length, False, False)


def _shown(name: str) -> bytes:
    """Return a name as a field's value: a wildcard's is the client's, and may hold what ends a line."""
    return _UNSHOWN.sub("?", name).encode()


def answered_by(old: PreparedRequest, tries: Tries, deployment: Deployment, secrets: tuple[bytes, ...]) -> PreparedRequest:
    """Return the prepared request with what its response needs: the secrets that went up, and which deployment responds."""
    name = _shown(deployment.id)
    lines = (
        b"x-litellm-model-id: " + name,
        b"x-litellm-model-group: " + _shown(tries.group.name),
        b"x-litellm-attempted-retries: %d" % tries.retries,
        b"x-litellm-attempted-fallbacks: %d" % tries.fallbacks,
        b"X-Passthrough-Deployment: " + name,
    )
    return PreparedRequest(
        old.logged_path,
        old.head,
        old.match,
        old.metered_path,
        old.client,
        old.label,
        old.labels,
        old.request_head,
        secrets,
        old.cors_headers,
        lines,
    )


def with_own_lines(lines: list[bytes], own: tuple[bytes, ...]) -> list[bytes]:
    """Return the lines of a response's head with the proxy's `own`, in the place of what a provider sends by these names."""
    return [line for line in lines if line.partition(b":")[0].lower() not in _OURS] + list(own)
