"""Builds the table of models out of a file's validated sections, with the bounds of OCR requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from ...proxy.deployments.deployment import Deployment, ModelGroup
from ...proxy.deployments.model_table import ModelTable
from ...proxy.documents.url_rules import UrlRules
from ...proxy.ocr.settings import OcrSettings
from ...proxy.routes import LabelHeader, Route
from ..endpoints.routes import BuildContext, check_loop
from ..problems import At, Problems
from ..validate import items, optional_part, part
from .deployments import DeploymentContext, credentials, deployments
from .ocr_routes import ocr_routes
from .router_settings import Names, Settings, model_table
from .schema import CredentialPart, EntryPart, LiteLLMSettingsPart, OcrPart, RouterPart
from .selection import is_left_out

_Part = TypeVar("_Part", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Models:
    """What model_list becomes. `routes` are those without a target; without an OCR entry there are none, and no table.

    `places` are those of the entries, by the ids of their deployments.
    """

    table: ModelTable | None
    routes: tuple[Route, ...]
    ocr: OcrSettings
    places: Mapping[str, At] = field(default_factory=dict)


def models(tree: Mapping[str, Any], build: BuildContext, problems: Problems) -> Models:
    """Return the models of a file whose sections `selection.selected` has narrowed; problems are noted."""
    settings = Settings(
        optional_part(RouterPart, tree.get("router_settings", {}), ("router_settings",), problems),
        optional_part(LiteLLMSettingsPart, tree.get("litellm_settings", {}), ("litellm_settings",), problems),
    )
    ocr = _ocr(tree, settings.litellm, problems)
    if "model_list" not in tree:
        return Models(None, (), ocr)
    shared = _parts(CredentialPart, tree, "credential_list", problems)
    entries = _parts(EntryPart, tree, "model_list", problems)
    labels = tuple(LabelHeader(label.name, label.forward, label.fills) for _, label in build.labels)
    context = DeploymentContext(
        build.sandbox, labels, settings.router.timeout, credentials(shared, problems), build.identities,
        settings.litellm.enable_azure_ad_token_refresh,
    )  # fmt: skip
    placed = deployments(entries, context, problems)
    if not build.sandbox:
        for at, deployment in placed:
            check_loop(deployment.target, (*at, "litellm_params", "api_base"), build.listen, problems)
    built = [deployment for _, deployment in placed]
    if len(built) < len(_given(tree, "model_list")) or not built:
        return Models(None, (), ocr)  # names that are missing for another reason are not noted once more
    groups = _groups(built)
    foreign = _left_out(tree).difference(group.name for group in groups)
    table = model_table(Names(groups, foreign), settings, problems)
    return Models(table, ocr_routes(labels), ocr, {deployment.id: at for at, deployment in placed})


def deployment_routes(*tables: ModelTable | None) -> tuple[Route, ...]:
    """Return what the calls of each deployment go by."""
    return tuple(deployment.route for table in tables if table is not None for deployment in table.deployments)


def _parts(model: type[_Part], tree: Mapping[str, Any], name: str, problems: Problems) -> list[tuple[At, _Part]]:
    """Return the valid items of a list with their places, but for those that were left out; the others are noted."""
    if not isinstance(tree.get(name, []), list):
        items(tree[name], (name,), problems)
    found = [(at, part(model, item, at, problems)) for at, item in _given(tree, name)]
    return [(at, item) for at, item in found if item is not None]


def _given(tree: Mapping[str, Any], name: str) -> list[tuple[At, object]]:
    given = tree.get(name)
    return [((name, i), item) for i, item in enumerate(given) if not is_left_out(item)] if isinstance(given, list) else []


def _left_out(tree: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of entries that are not served."""
    return frozenset(str(item["model_name"]) for item in tree["model_list"] if is_left_out(item) and item)


def _groups(built: Sequence[Deployment]) -> tuple[ModelGroup, ...]:
    names = dict.fromkeys(deployment.group for deployment in built)
    return tuple(ModelGroup(name, tuple(each for each in built if each.group == name)) for name in names)


def _ocr(tree: Mapping[str, Any], settings: LiteLLMSettingsPart, problems: Problems) -> OcrSettings:
    bounds = optional_part(OcrPart, tree.get("ocr", {}), ("ocr",), problems)
    if bounds.held_body > bounds.held_bodies:
        what = "One body may be larger than all together: held_bodies is less."
        at = "held_body" if "held_body" in bounds.model_fields_set else "held_bodies"
        problems.wrong(("ocr", at), what, "Raise held_bodies, or lower held_body.")
    hosts = frozenset(host.lower() for host in settings.user_url_allowed_hosts)
    return OcrSettings(bounds.held_body, bounds.held_bodies, UrlRules(bounds.max_document, settings.user_url_validation, hosts))
