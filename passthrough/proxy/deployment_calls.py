"""The calls to deployments that are under way, and what follows one that fails: the same for OCR requests and for pools."""

from __future__ import annotations

import asyncio
import random
import re
import time
from dataclasses import replace

from ..errors import ClientGone, Failure, Reason, Refusal, UpstreamFailure
from ..exchange import Exchange, RouteTerms
from .attempts import give_up, upload_failure
from .deployments.balancer import Balancer, Failed
from .deployments.deployment import Deployment
from .deployments.sticky_tries import StickyTries
from .deployments.tries import Tries
from .request_context import RequestContext
from .retry_wait import retry_after_s
from .upstream.response_head import ResponseHead


class DeploymentCalls:
    """Counts the calls of all deployments, each while it is under way, settled ones too; `balancer` knows how they end."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.balancer = Balancer(self._loop.time, random.random)
        self._entered: dict[str, Deployment] = {}

    def enter(self, exchange: Exchange, deployment: Deployment) -> None:
        """Count a call that begins."""
        self.balancer.enter(deployment)
        self._entered[exchange.id] = deployment

    def leave(self, exchange: Exchange) -> None:
        """End the last call of an exchange, if one is under way."""
        deployment = self._entered.pop(exchange.id, None)
        if deployment is not None:
            self.balancer.leave(deployment)

    def without_address(self, exchange: Exchange, failure: Failure) -> Failure:
        """Return a failure of an exchange as its client is told it.

        Where a call to a deployment is under way, that one's id stands for its address, or its identity, which clients need not
        know. This holds for all that fails: before the response's head, behind it, and in the upload.
        """
        deployment = self._entered.get(exchange.id)
        if deployment is None or not isinstance(failure, UpstreamFailure):
            return failure
        return _without_address(failure, deployment)

    async def goes_on(
        self, context: RequestContext, tries: Tries | StickyTries, deployment: Deployment, failed: Failed, deadline: float | None
    ) -> bool:
        """Judge a failed try; True: it was given up, its wait is over, and another one follows now.

        `deadline` (the loop's time) is that of the request: no try begins after it.
        """
        if isinstance(upload_failure(context), Refusal | ClientGone):
            return False  # The client's body, or the document, has failed: the deployment has not.
        exchange = context.exchange
        verdict = tries.judge(failed)
        if failed.cause:
            exchange.failed(str(failed.reason or failed.cause))
        else:
            exchange.why = f"{deployment.id}: {failed.outcome}"
        if context.steps is not None:
            context.steps.failed(exchange, f"the try has failed: {exchange.why}")
        if verdict.lacks_body:
            exchange.why = f"{exchange.why}; the body was not held"
        if failed.reason == Reason.TOTAL_TIMEOUT:  # a timer may fire a moment before the deadline
            return False
        if not verdict.goes_on or (deadline is not None and self._loop.time() + verdict.after_s >= deadline):
            return False
        await give_up(context)
        self.leave(exchange)
        if verdict.after_s:
            await asyncio.sleep(verdict.after_s)
        return True


def name_deployment(exchange: Exchange, deployment: Deployment) -> None:
    """Say on an exchange where its request goes now."""
    exchange.terms = _terms(deployment)
    exchange.target, exchange.sandbox = deployment.target.name, deployment.target.name == "sandbox"
    exchange.deployment = deployment.id


def _terms(deployment: Deployment) -> RouteTerms:
    """Return what accounting goes by; a wildcard's deployment is priced by the model that it stands for."""
    terms = deployment.route.terms
    price = terms.deployment_price
    if price is None or "*" not in price.model:
        return terms
    provider = price.model.partition("/")[0]
    return replace(terms, deployment_price=replace(price, model=f"{provider}/{deployment.model}"))


def wait_asked(response: ResponseHead) -> float | None:
    """Return the seconds that a response's Retry-After asks for, None without one."""
    return retry_after_s(response.values.get(b"retry-after", ()), time.time())


def cause_of(context: RequestContext, failure: UpstreamFailure) -> str:
    """Return why a try failed, as `Failed` has it."""
    if failure.kind.code == "upstream_credentials":
        return "credentials"
    if context.call is None:
        return "connect"
    return "timeout" if failure.kind.code == "upstream_timeout" else "broke"


def _without_address(failure: UpstreamFailure, deployment: Deployment) -> UpstreamFailure:
    if failure.kind.code == "upstream_credentials":
        message = f"The token of deployment {deployment.id} could not be fetched."
    else:
        target = deployment.target
        names = "|".join(map(re.escape, filter(None, (target.name, target.host, target.tls_name))))  # the name has the port too
        message = re.sub(rf"(?<![\w.:-])(?:{names})(?![\w-]|[.:]\w)", lambda _: f"deployment {deployment.id}", failure.message)
    return UpstreamFailure(failure.kind.code, message, hint=failure.hint, why=failure.why)
