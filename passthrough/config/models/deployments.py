"""Turns the entries of `model_list` into deployments: where each is, what it is sent, and how it is priced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from ...credentials.identity import Identity
from ...exchange import DeploymentPrice, RouteTerms
from ...meter.plan import MeterPlan
from ...proxy.deployments.deployment import OCR_ROUTE, Deployment, Provider
from ...proxy.routes import LabelHeader, Route, Target, Timeouts
from ...secret import Secret
from ..identities.identities import Identities
from ..identities.schema import EntraPart, GooglePart
from ..problems import At, Problems
from ..syntax import Location
from . import urls
from .credential_choice import Credential, credential
from .defaults import DEFAULTS
from .schema import ConnectionPart, CredentialPart, EntryPart, ParamsPart

_PRICE_LISTS: Final = {Provider.AZURE: "azure", Provider.VERTEX: "vertex"}
_SANDBOX_BASE: Final = Location(True, "sandbox.invalid", 443, b"", b"")
_METHODS: Final = frozenset({"POST"})

Entry = tuple[At, EntryPart]


class _Built(NamedTuple):
    """A deployment with the entry that it was built of, and its place."""

    at: At
    entry: EntryPart
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class DeploymentContext:
    """What all deployments are built with. `by_machine`: one at Azure without a credential goes by the machine's own identity."""

    sandbox: bool
    labels: tuple[LabelHeader, ...]
    timeout_s: float | None
    credentials: Mapping[str, ConnectionPart]
    identities: Identities
    by_machine: bool


def credentials(given: Iterable[tuple[At, CredentialPart]], problems: Problems) -> dict[str, ConnectionPart]:
    """Return the values of credentials by their names; a name that is given twice is noted."""
    found: dict[str, ConnectionPart] = {}
    for at, part in given:
        if part.credential_name in found:
            problems.wrong((*at, "credential_name"), "Another credential has this name.", "Give each its own.")
        found.setdefault(part.credential_name, part.credential_values)
    return found


def deployments(entries: Sequence[Entry], context: DeploymentContext, problems: Problems) -> list[tuple[At, Deployment]]:
    """Return a deployment for each entry that can be built, in order; problems are noted."""
    built = [(at, entry, _deployment(entry, at, context, problems)) for at, entry in entries]
    named = _with_ids([_Built(at, entry, found) for at, entry, found in built if found is not None], problems)
    return [(each.at, each.deployment) for each in _with_shares(named, problems)]


def _deployment(entry: EntryPart, at: At, context: DeploymentContext, problems: Problems) -> Deployment | None:
    params = entry.litellm_params
    place = (*at, "litellm_params")
    served = urls.provider_of(params.model, params.custom_llm_provider)
    if served is None:  # its variable was not set, which is noted
        return None
    provider, model = served
    _check_wildcard(entry, model, at, problems)
    where = _merged(params, context)
    location = _location(where, provider, model, place, context, problems)
    choice = _choice(params, where, provider, context)
    headers = _headers(params, where, choice, place, problems)
    identity = _identity(where, choice, place, context.identities)
    if choice is Credential.NONE and not context.sandbox:
        _note_missing_key(provider, place, problems)
    if location is None:
        return None
    target = _target(location, context)
    return Deployment(
        id="",
        group=entry.model_name,
        provider=provider,
        model=model,
        target=target,
        route=replace(
            _route(entry, provider, model, target, headers, context, is_mistral=location.host == urls.MISTRAL_HOST),
            upstream_auth=identity,
        ),
        inlines_documents=provider is not Provider.MISTRAL,
        defaults=tuple((name, text) for name in DEFAULTS if (text := getattr(params, name)) is not None),
        order=params.order,
        rpm=params.rpm,
        tpm=params.tpm,
        max_parallel=params.max_parallel_requests,
        num_retries=params.num_retries,
    )


def _check_wildcard(entry: EntryPart, model: str, at: At, problems: Problems) -> None:
    stars = entry.model_name.count("*")
    if stars > 1:
        problems.wrong((*at, "model_name"), "Only one '*' can stand in a name.", "Keep one of them.")
    if "*" in model and not stars:
        what = "Nothing replaces the '*': the entry's model_name has none."
        problems.wrong((*at, "litellm_params", "model"), what, "Name the model, or write a '*' into model_name too.")


def _merged(params: ParamsPart, context: DeploymentContext) -> ConnectionPart:
    """Return where the deployment is: what the entry says, else what its credential says."""
    shared = context.credentials.get(params.litellm_credential_name or "")
    if shared is None:
        return params
    own = {name: getattr(params, name) for name in params.model_fields_set & set(ConnectionPart.model_fields)}
    return shared.model_copy(update=own)


def _location(
    where: ConnectionPart, provider: Provider, model: str, at: At, context: DeploymentContext, problems: Problems
) -> Location | None:
    if provider is Provider.MISTRAL:
        return urls.mistral(where.api_base)
    if provider is Provider.AZURE:
        base = where.api_base or (_SANDBOX_BASE if context.sandbox else None)
        if base is None:
            what = "A deployment at Azure has an address of its own, which is missing."
            hint = "Add 'api_base: https://NAME.services.ai.azure.com', or set AZURE_AI_API_BASE."
            problems.wrong((*at, "api_base"), what, hint)
            return None
        return urls.azure(base, where.api_version)
    project = where.vertex_project or ("sandbox" if context.sandbox else None)
    if project is None and not (where.api_base and where.api_base.base_path.endswith(b":rawPredict")):
        what = "A deployment at Vertex belongs to a project, which is missing."
        problems.wrong((*at, "vertex_project"), what, "Add 'vertex_project', or set VERTEXAI_PROJECT.")
        return None
    return urls.vertex(where.api_base, project or "", where.vertex_location, model)


def _choice(params: ParamsPart, where: ConnectionPart, provider: Provider, context: DeploymentContext) -> Credential:
    """Return which of its credentials a deployment uses, by what is left of them after `selection`."""
    found: dict[str, object] = {name: getattr(where, name) for name in ConnectionPart.model_fields}
    if where.azure_ad_token is not None:
        found["azure_ad_token"] = where.azure_ad_token.reveal()
    headers = {name.lower() for name in params.extra_headers}
    return credential(provider, found, headers, context.identities.environ, by_machine=context.by_machine)


def _headers(
    params: ParamsPart, where: ConnectionPart, choice: Credential, at: At, problems: Problems
) -> tuple[tuple[bytes, Secret], ...]:
    """Return the fields that are set on each request: the credential, unless one of `extra_headers` is one, and these."""
    extra = tuple((name.encode("ascii"), value) for name, value in params.extra_headers.items())
    seen: set[str] = set()
    for name in params.extra_headers:
        if name.lower() in seen:
            problems.wrong((*at, "extra_headers", name), "This header is given twice: case does not matter.", "Keep one of them.")
        seen.add(name.lower())
    key = {Credential.API_KEY: where.api_key, Credential.AZURE_AD_TOKEN: where.azure_ad_token}.get(choice)
    return extra if key is None else ((b"Authorization", Secret(f"Bearer {key.reveal()}", key.shown)), *extra)


def _identity(where: ConnectionPart, choice: Credential, at: At, identities: Identities) -> Identity | None:
    """Return whose token the deployment's requests carry, None where it has another credential."""
    if choice is Credential.GOOGLE:
        return identities.google(GooglePart(credentials=where.vertex_credentials), at, "vertex_credentials")
    if choice is Credential.MACHINE:
        return identities.entra(EntraPart.model_validate({"managed_identity": "true", "scope": where.azure_scope}), at)
    if choice is Credential.ENTRA:
        application = EntraPart(
            tenant_id=where.tenant_id, client_id=where.client_id, client_secret=where.client_secret, scope=where.azure_scope
        )
        return identities.entra(application, at)
    return None


def _note_missing_key(provider: Provider, at: At, problems: Problems) -> None:
    variable = "AZURE_AI_API_KEY" if provider is Provider.AZURE else "MISTRAL_API_KEY"
    what = f"There is no key for this deployment: no api_key, and {variable} is not set."
    problems.wrong((*at, "api_key"), what, f"Add 'api_key: os.environ/NAME', or set {variable}.")


def _target(where: Location, context: DeploymentContext) -> Target:
    if context.sandbox:
        return Target(False, "127.0.0.1", 0, where.base_path, where.query, name="sandbox")
    return Target(where.tls, where.host, where.port, where.base_path, where.query, name=where.authority)


def _route(
    entry: EntryPart, provider: Provider, model: str, target: Target, headers: tuple[tuple[bytes, Secret], ...],
    context: DeploymentContext, *, is_mistral: bool,
) -> Route:  # fmt: skip
    params, info = entry.litellm_params, entry.model_info
    price = DeploymentPrice(
        info.base_model or params.base_model or f"{provider.value}/{model}",
        params.ocr_cost_per_page if info.ocr_cost_per_page is None else info.ocr_cost_per_page,
        params.annotation_cost_per_page if info.annotation_cost_per_page is None else info.annotation_cost_per_page,
    )
    # What speaks Mistral's API elsewhere (Azure serverless, AI/ML API) is billed by whom its host belongs to.
    price_list = _PRICE_LISTS.get(provider) or ("mistral" if is_mistral else None)
    total_s = params.timeout if "timeout" in params.model_fields_set else context.timeout_s
    return Route(
        path=OCR_ROUTE.encode("ascii"),
        targets=(target,),
        terms=RouteTerms(OCR_ROUTE, MeterPlan("ocr"), price_list=price_list, deployment_price=price),
        methods=_METHODS,
        headers=headers,
        timeouts=Timeouts(total_s=total_s),
        label_headers=context.labels,
    )


def _with_ids(built: Sequence[_Built], problems: Problems) -> list[_Built]:
    """Return the deployments with unique ids: those of the file, else the provider and the model, numbered where they repeat."""
    taken: dict[str, At] = {}
    for at, entry, _ in built:
        given = entry.model_info.id
        if given is None:
            continue
        if given in taken:
            what = f"This is the id of the entry on line {problems.line(taken[given])} too."
            problems.wrong((*at, "model_info", "id"), what, "Give each its own: the log and the ledger name deployments by it.")
        taken.setdefault(given, at)
    found: list[_Built] = []
    for at, entry, deployment in built:
        given = entry.model_info.id
        if given is None:
            name = deployment.full_model
            given, number = name, 1
            while given in taken:
                number += 1
                given = f"{name}#{number}"
            taken[given] = at
        found.append(_Built(at, entry, replace(deployment, id=given)))
    return found


def _with_shares(built: Sequence[_Built], problems: Problems) -> list[_Built]:
    """Return the deployments with their weights.

    1. Where one of a group has a `weight`, those without have 1. 2. Else `rpm` are the shares, else `tpm`; who has none has 1.
    3. That an entry lacks what its siblings have is said. 4. If all of one order have 0, none could be chosen.
    """
    groups: dict[str, list[_Built]] = {}
    for each in built:
        groups.setdefault(each.deployment.group, []).append(each)
    weights: dict[str, float] = {}
    for group in groups.values():
        by = _metric([each.entry.litellm_params for each in group])
        for at, entry, deployment in group:
            share = None if by is None else getattr(entry.litellm_params, by)
            if by is not None and share is None:
                what = f"Others of {deployment.group} have '{by}', which is their share; this one's is 1."
                problems.warn((*at, "litellm_params"), what, f"Add '{by}'.")
            weights[deployment.id] = 1.0 if share is None else float(share)
        for order in dict.fromkeys(each.deployment.order for each in group):
            same = [each for each in group if each.deployment.order == order]
            if not any(weights[each.deployment.id] for each in same):
                what = "All deployments of this name and order have the weight 0: none is ever chosen."
                problems.wrong((*same[0].at, "litellm_params", "weight"), what, "Give one of them a weight above 0.")
    return [each._replace(deployment=replace(each.deployment, weight=weights[each.deployment.id])) for each in built]


def _metric(group: Sequence[ParamsPart]) -> str | None:
    return next((name for name in ("weight", "rpm", "tpm") if any(getattr(params, name) is not None for params in group)), None)
