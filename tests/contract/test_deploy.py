"""What operators are given: the files of a deployment fit each other."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import yaml

from passthrough.config.environment import environment
from passthrough.config.load import load
from passthrough.server.instance import CLOSE_ACCOUNTING_S

DEPLOY = Path(__file__).parents[2] / "deploy"


def replicas() -> dict[str, Any]:
    """Return the composition of two replicas."""
    composition: dict[str, Any] = yaml.safe_load((DEPLOY / "compose-replicas.yaml").read_text("utf-8"))
    return composition


async def test_replicas_are_served(tmp_path: Path) -> None:
    """With what the composition sets, its configuration is without a problem: a PostgreSQL ledger, a budget, an admin key."""
    service = replicas()["services"]["passthrough"]
    variables = {name.partition("=")[0]: f"canary-{name.lower()}-0123456789" for name in service["environment"]}
    assert "PGPASSWORD=${POSTGRES_PASSWORD:?is not set}" in service["environment"]
    variables |= {"PASSTHROUGH_LISTEN_HOST": "0.0.0.0", "PASSTHROUGH_ADMIN_HOST": "0.0.0.0"}
    file = str(DEPLOY / "replicas/routes.yaml")
    config = await asyncio.to_thread(lambda: load(file, environment(file, variables, tmp_path), cwd=tmp_path))
    assert () == config.warnings
    assert "postgresql://passthrough@database/passthrough" == config.ledger
    assert config.admin_digest is not None
    assert 1 == len(config.budgets)
    assert config.listen.drain_timeout_s + CLOSE_ACCOUNTING_S <= float(service["stop_grace_period"].removesuffix("s"))


def test_replicas_files_name_each_other() -> None:
    """What is mounted is shipped, and what nginx asks is the replicas' service."""
    services = replicas()["services"]
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in replicas()["volumes"]
    nginx = services["nginx"]
    mounted = nginx["volumes"][0].split(":")[1]
    assert f"{mounted}/start.sh" == nginx["command"][1]
    script = (DEPLOY / "replicas/nginx/start.sh").read_text("utf-8")
    assert "${REPLICAS:-passthrough:4000}" in script
    conf = (DEPLOY / "replicas/nginx/nginx.conf").read_text("utf-8")
    for setting in ("proxy_request_buffering off", "proxy_buffering off", "client_max_body_size 0", "listen 4000"):
        assert f"{setting};" in conf


def test_nginx_sends_nothing_twice_that_may_cost() -> None:
    """A POST that a replica has goes to no other; a replica that is away holds no request up for long."""
    conf = re.sub(r"#.*", "", (DEPLOY / "replicas/nginx/nginx.conf").read_text("utf-8"))
    assert ["error timeout"] == re.findall(r"proxy_next_upstream ([^;]+);", conf)
    assert "proxy_connect_timeout 500ms;" in conf
    assert re.search(r"resolver_timeout [12]s;", conf)
    shutdown = re.search(r"worker_shutdown_timeout (\d+)s;", conf)
    assert shutdown is not None
    assert int(shutdown[1]) < int(replicas()["services"]["nginx"]["stop_grace_period"].removesuffix("s"))
