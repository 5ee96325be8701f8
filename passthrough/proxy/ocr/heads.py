"""The heads of an OCR request: of the JSON that goes up, and what the response's head says of the deployment."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final

from ..deployments.deployment import Deployment
from ..deployments.tries import Tries
from ..headers import Field
from ..prepared import PreparedRequest
from ..request_head import RequestHead
from ..rewrite import HeaderRewriter, innermost_name

_DESCRIBES: Final = frozenset(
    {b"content-length", b"content-encoding", b"transfer-encoding", b"content-type", b"content-md5", b"content-digest"}
)
"""What describes the client's body, which is not what goes up; nor does a field that sets one of these by `x-pass-`."""

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


def upstream_head(prepared: PreparedRequest, deployment: Deployment, rewriter: HeaderRewriter, length: int) -> bytes:
    """Return the head of a request to a deployment whose body is JSON of this length, in no coding.

    All but the length follows from the client's head: it is cached with that.
    """
    key = deployment.id, deployment.target.base_path  # A wildcard's deployment has one id for all models, and a path for each.
    head = prepared.upstream_head(key, lambda: rewriter.request_head(_head_of_json(prepared.head), b"", deployment.target)[:-2])
    return b"%bContent-Length: %d\r\n\r\n" % (head, length)


def _head_of_json(head: RequestHead) -> RequestHead:
    """Return the head of a request whose body is JSON, without its length and without the client's query."""
    kept: list[Field] = [each for each in head.fields if innermost_name(each[0]) not in _DESCRIBES]
    return RequestHead("POST", head.path, None, (*kept, _JSON), head.nominated - _DESCRIBES, False, True, None, False, False)


@lru_cache(1024)
def _lines(deployment: str, group: str, retries: int, fallbacks: int) -> tuple[bytes, ...]:
    """Return what the response's head says of the deployment that responds."""
    name = _shown(deployment)
    return (
        b"x-litellm-model-id: " + name,
        b"x-litellm-model-group: " + _shown(group),
        b"x-litellm-attempted-retries: %d" % retries,
        b"x-litellm-attempted-fallbacks: %d" % fallbacks,
        b"X-Passthrough-Deployment: " + name,
    )


def _shown(name: str) -> bytes:
    """Return a name as a field's value: a wildcard's is the client's, and may hold what ends a line."""
    return _UNSHOWN.sub("?", name).encode()


def answered_by(old: PreparedRequest, tries: Tries, deployment: Deployment, secrets: tuple[bytes, ...]) -> PreparedRequest:
    """Return the prepared request with what its response needs: the secrets that went up, and which deployment responds."""
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
        _lines(deployment.id, tries.group.name, tries.retries, tries.fallbacks),
        old.upstream_heads,
        old.token_source,
    )


def with_own_lines(lines: list[bytes], own: tuple[bytes, ...], names: Collection[bytes]) -> list[bytes]:
    """Return the lines of a response's head with the proxy's `own`, in the place of what a provider sends by these names.

    `names` are those of the provider's fields, in lower case.
    """
    if _OURS.isdisjoint(names):
        return [*lines, *own]
    return [line for line in lines if line.partition(b":")[0].lower() not in _OURS] + list(own)
