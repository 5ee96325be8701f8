"""Turns `router_settings` and `litellm_settings` into how deployments are chosen, and the other names of models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from ...proxy.deployments.deployment import ModelGroup, Routing, Strategy
from ...proxy.deployments.model_table import ModelTable
from ..problems import KEEP_FOR_LITELLM, At, Problems, did_you_mean, nearest, printable
from .schema import Fallbacks, LiteLLMSettingsPart, RouterPart, SharedSettingsPart

_ROUTER: Final = "router_settings"
_SETTINGS: Final = "litellm_settings"
_OTHER_STRATEGIES: Final = (
    "usage-based-routing", "usage-based-routing-v2", "latency-based-routing", "cost-based-routing", "provider-budget-routing",
    "auto-router", "complexity-router",
)  # fmt: skip
_STRATEGIES: Final = tuple(strategy.value for strategy in Strategy)
_LIMITS_CHECK: Final = "enforce_model_rate_limits"


@dataclass(frozen=True, slots=True)
class Settings:
    """The two sections; for what both have, the router's counts, as in LiteLLM."""

    router: RouterPart
    litellm: LiteLLMSettingsPart

    def holder(self, name: str) -> tuple[str, SharedSettingsPart]:
        """Return the section that a setting is taken from, with its name."""
        if name in self.router.model_fields_set or name not in self.litellm.model_fields_set:
            return _ROUTER, self.router
        return _SETTINGS, self.litellm

    def value(self, name: str) -> Any:
        """Return a setting that both sections have."""
        return getattr(self.holder(name)[1], name)


@dataclass(frozen=True, slots=True)
class Names:
    """The names of the file's models: those of groups, and those of entries that are not served."""

    groups: Sequence[ModelGroup]
    foreign: Collection[str]


def model_table(names: Names, settings: Settings, problems: Problems) -> ModelTable:
    """Return the table of the groups, with aliases and fallbacks; problems are noted."""
    for name in sorted(settings.router.model_fields_set & settings.litellm.model_fields_set):
        what = f"{_SETTINGS} has it too; this one counts."
        problems.warn((_ROUTER, name), what, "Keep one of them.")
    aliases, hidden = _aliases(names, settings, problems)
    named = ModelTable(names.groups, aliases=aliases)
    fallbacks = _fallbacks(named, names.foreign, settings, problems)
    section, holder = settings.holder("default_fallbacks")
    defaults = _targets(holder.default_fallbacks, (section, "default_fallbacks"), named, names.foreign, problems)
    return ModelTable(names.groups, _routing(settings, fallbacks, defaults, problems), aliases=aliases, hidden=hidden)


def _routing(
    settings: Settings, fallbacks: Mapping[str, tuple[str, ...]], defaults: tuple[str, ...], problems: Problems
) -> Routing:
    router = settings.router
    cooldown_s = settings.value("cooldown_time")
    return Routing(
        strategy=_strategy(router, problems),
        num_retries=settings.value("num_retries"),
        retry_after_s=router.retry_after,
        cooldown_s=cooldown_s,
        cools=cooldown_s > 0 and not router.disable_cooldowns,
        allowed_fails=settings.value("allowed_fails"),
        request_timeout_s=settings.litellm.request_timeout,
        enforces_limits=_enforces_limits(router, problems),
        fallbacks=fallbacks,
        default_fallbacks=defaults,
    )


def _strategy(router: RouterPart, problems: Problems) -> Strategy:
    word = router.routing_strategy.strip().lower()
    if word in _STRATEGIES:
        return Strategy(word)
    at = (_ROUTER, "routing_strategy")
    if word in _OTHER_STRATEGIES:
        problems.warn(at, f"{word} is not served: simple-shuffle is used.", f"Write one of {', '.join(_STRATEGIES)}.")
    else:
        hint = did_you_mean(word, _STRATEGIES, f"Write one of {', '.join(_STRATEGIES)}.")
        problems.wrong(at, "There is no such strategy.", hint)
    return Strategy.SIMPLE_SHUFFLE


def _enforces_limits(router: RouterPart, problems: Problems) -> bool:
    others = [(i, name) for i, name in enumerate(router.optional_pre_call_checks) if name != _LIMITS_CHECK]
    for index, name in others:
        if nearest(name, [_LIMITS_CHECK]):
            at = (_ROUTER, "optional_pre_call_checks", index)
            problems.wrong(at, "There is no such check.", f"Did you mean '{_LIMITS_CHECK}'?")
    idle = [name for _, name in others if not nearest(name, [_LIMITS_CHECK])]
    if idle:
        what = f"{', '.join(map(printable, idle))}: nothing is done for it here."
        problems.warn((_ROUTER, "optional_pre_call_checks"), what, KEEP_FOR_LITELLM)
    return _LIMITS_CHECK in router.optional_pre_call_checks


def _aliases(names: Names, settings: Settings, problems: Problems) -> tuple[dict[str, str], frozenset[str]]:
    """Return the aliases and those that are not listed. An alias of an alias is none, for it could go in circles."""
    section, holder = settings.holder("model_group_alias")
    groups, named = {group.name for group in names.groups}, ModelTable(names.groups)
    found: dict[str, str] = {}
    hidden: set[str] = set()
    for alias, part in holder.model_group_alias.items():
        at = (section, "model_group_alias", alias)
        if alias in groups:
            what = "A model of model_list has this name: its entries could not be called any more."
            problems.wrong(at, what, "Give the alias another name, or remove it.")
        elif part.model in holder.model_group_alias and part.model not in groups:
            problems.wrong(at, f"'{printable(part.model)}' is an alias itself.", "Name a model of model_list.")
        elif part.model in names.foreign:
            problems.warn(at, f"'{printable(part.model)}' is not served: the alias is left out.", KEEP_FOR_LITELLM)
        elif not named.knows(part.model):
            problems.wrong(at, "There is no such model in model_list.", _near(part.model, groups))
        else:
            found[alias] = part.model
            hidden |= {alias} if part.hidden else set()
    return found, frozenset(hidden)


def _fallbacks(
    named: ModelTable, foreign: Collection[str], settings: Settings, problems: Problems
) -> Mapping[str, tuple[str, ...]]:
    section, holder = settings.holder("fallbacks")
    found: dict[str, tuple[str, ...]] = {}
    for at, name, targets in _pairs(holder.fallbacks, section):
        if name in foreign:
            continue  # LiteLLM's chat models, say
        if name != "*" and not named.knows(name):
            problems.wrong(at, "There is no such model in model_list.", _near(name, {*named.aliases, *named.names()}))
            continue
        group = named.aliases.get(name, name)
        if group in found:
            problems.wrong(at, "The fallbacks of this model are given twice.", "Join them in one list.")
        if not {name, group}.isdisjoint(targets):
            problems.wrong(at, "A model cannot be its own fallback.", "Remove it: its other deployments are tried anyway.")
        if not targets:
            problems.wrong(at, "No model stands here to fall back on.", "Name one, or remove it.")
        found[group] = _targets(targets, at, named, foreign, problems)
    return MappingProxyType(found)


def _pairs(fallbacks: Fallbacks, section: str) -> Iterable[tuple[At, str, list[str]]]:
    for index, mapping in enumerate(fallbacks):
        for name, targets in mapping.items():
            yield (section, "fallbacks", index, name), name, targets


def _targets(targets: Sequence[str], at: At, named: ModelTable, foreign: Collection[str], problems: Problems) -> tuple[str, ...]:
    found: list[str] = []
    for index, name in enumerate(targets):
        if named.knows(name):
            found.append(name)
        elif name in foreign:
            problems.warn((*at, index), f"'{printable(name)}' is not served: it is left out.", KEEP_FOR_LITELLM)
        else:
            problems.wrong((*at, index), "There is no such model in model_list.", _near(name, {*named.aliases, *named.names()}))
    return tuple(found)


def _near(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    return did_you_mean(name, known, f"Write one of {', '.join(map(printable, known[:12]))}.")
