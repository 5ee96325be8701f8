"""A deployment: an entry of `model_list`, or one of an endpoint's `targets`; and the group of those that share a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ..routes import Route, Target

OCR_ROUTE: Final = "/v1/ocr"
"""The name of all OCR routes in the log, in the ledger and for budgets, however the client spells the path."""

RESENT: Final = frozenset({401, 403, 408, 429, 503})
"""The statuses after which another deployment is tried by default: the provider did no work that it bills."""

BILLED: Final = frozenset({500, 502, 504})
"""The statuses (and a time-out) after which another deployment is tried only where `num_retries` is in the file: the provider may
have billed the call."""


class Provider(StrEnum):
    """Which API a deployment speaks, by LiteLLM's prefix of its model."""

    MISTRAL = "mistral"
    AZURE = "azure_ai"
    VERTEX = "vertex_ai"


class Strategy(StrEnum):
    """How one of several deployments is chosen (`routing_strategy`)."""

    SIMPLE_SHUFFLE = "simple-shuffle"  # at random, by weight
    LEAST_BUSY = "least-busy"  # the one with the fewest calls under way


@dataclass(frozen=True, slots=True)
class Deployment:
    """One entry of `model_list` that is for OCR, or one of an endpoint's `targets`, resolved.

    `id` is unique: `model_info.id`, else the provider and the model, with `#2` and so on where that is not unique; of a target
    its `id`, else `/path#1` and so on. `group` is the `model_name`, or the endpoint's path. `provider` and `model` are those of
    `model_list`; a target has none (None, and empty). `model` is what the value of `model` in the body becomes.

    `target` is where its calls go; `route` is what they go by: time-outs (`total_s` is LiteLLM's `timeout`, for one try),
    injected headers, terms. `inlines_documents`: the provider cannot fetch a document by its URL. `defaults` are the OCR
    parameters of `litellm_params`, each as its key and its JSON text.

    `order`: those with the lowest are chosen first. `weight` is its share among those of one order. `rpm` and `tpm` are requests
    and tokens per minute, `max_parallel` calls at the same time: at one of these limits it is avoided. `num_retries` are its own,
    None: the router's.

    In a wildcard's deployment (`mistral/*`) `model` and the target's path hold a `*`: see `ModelTable`.
    """

    id: str
    group: str
    provider: Provider | None
    model: str
    target: Target
    route: Route
    inlines_documents: bool = False
    defaults: tuple[tuple[str, bytes], ...] = ()
    order: int = 1
    weight: float = 1.0
    rpm: int | None = None
    tpm: int | None = None
    max_parallel: int | None = None
    num_retries: int | None = None

    @property
    def full_model(self) -> str:
        """The model with its provider, as `model_list` has it: `mistral/mistral-ocr-latest`."""
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class ModelGroup:
    """The deployments that share a `model_name`, or the targets of an endpoint, in the order of the file; at least one."""

    name: str
    deployments: tuple[Deployment, ...]


@dataclass(frozen=True, slots=True)
class Routing:
    """How deployments are chosen, tried and cooled: `router_settings` and `litellm_settings`. Times are seconds.

    `num_retries` is how many further tries one request has, None where the file says nothing: then two, and only after statuses
    of `RESENT` and failed connects. `retry_after_s` is the least wait before a deployment is tried again. `cooldown_s` holds
    where the response has no Retry-After. `allowed_fails` is how many failures per minute a deployment may have before it cools;
    None: fewer than five, or half of its calls. `request_timeout_s` is for all tries together. `enforces_limits`: a request is
    refused where every deployment is at its `rpm` or `tpm`. `statuses` are those after which another try follows, None: `RESENT`,
    and `BILLED` where `num_retries` is given. No wait before a try is longer than `max_wait_s`. `takes_cooling`: where all cool
    down, one of them is chosen all the same, if something can be sent to it: its own response is more honest than ours.
    """

    strategy: Strategy = Strategy.SIMPLE_SHUFFLE
    num_retries: int | None = None
    retry_after_s: float = 0.0
    cooldown_s: float = 5.0
    cools: bool = True
    allowed_fails: int | None = None
    request_timeout_s: float | None = None
    enforces_limits: bool = False
    statuses: frozenset[int] | None = None
    max_wait_s: float = 60.0
    takes_cooling: bool = False
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    default_fallbacks: tuple[str, ...] = ()
    """`fallbacks` are names of groups by the name of the group that failed, `*` for any."""
