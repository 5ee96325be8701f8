"""The replicas of deploy/kubernetes as two Pods, by `podman kube play`, with PostgreSQL: one is replaced by the other.

Podman is no Kubernetes. What is rewritten for it is in `as_podman_takes_it`, and nothing else; Service, autoscaler and policies
are for a cluster.
"""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import yaml

from tests.containers import inside
from tests.containers.client import Client, get, ocr_total
from tests.containers.podman import Podman, until
from tests.containers.report import Report
from tests.containers.single import Keys, booked
from tests.harness.kustomization import built

OLD, NEW, WRONG = "passthrough-old", "passthrough-new", "passthrough-wrong"
NETWORK: Final = "kubernetes"
DATABASE: Final = "postgresql"


def as_podman_takes_it(objects: list[dict[str, Any]], name: str, routes: str | None = None) -> str:
    """Return the Deployment's Pod with its ConfigMap, as podman 4.3 understands them.

    1. Two Deployments of one name cannot be: the Pod is played by itself, under `name`.
    2. It would run `curl` inside for a probe's `httpGet`, which the image lacks: probes are left out, and asked from outside.
    3. Volumes of one name are one: each Pod's are called after it. So is the ConfigMap, where it has other `routes`.
    4. It would publish a container's ports on the machine, where only one Pod can have them: they are left out.
    5. The sandbox stands in for the provider.
    """
    (deployment,) = (each for each in objects if each["kind"] == "Deployment")
    (config,) = (each for each in objects if each["kind"] == "ConfigMap")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for left_out in ("startupProbe", "readinessProbe", "livenessProbe", "ports"):
        del container[left_out]
    container["env"].append({"name": "PASSTHROUGH_SANDBOX", "value": "1"})
    config["metadata"]["name"] += f"-{name}"
    for each in (*pod["volumes"], *container["volumeMounts"]):
        each["name"] += f"-{name}"
        if "configMap" in each:
            each["configMap"]["name"] += f"-{name}"
    if routes is not None:
        config["data"]["routes.yaml"] = routes
        pod["restartPolicy"] = "Never"
    played = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": pod}
    return yaml.safe_dump_all([config, played])


def container_of(name: str) -> str:
    """Return the proxy's container in a Pod."""
    return f"{name}-passthrough"


def address(podman: Podman, name: str) -> str:
    """Return a Pod's address."""
    infra = podman.output("pod", "inspect", "--format", "{{.InfraContainerID}}", name)
    return podman.output("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", infra)


def play(podman: Podman, folder: Path, name: str, routes: str | None = None) -> None:
    """Play one Pod."""
    manifests = as_podman_takes_it(built(folder), name, routes)
    podman.run("kube", "play", "--network", NETWORK, "-", stdin=manifests.encode(), check=routes is None)


def replicas(podman: Podman, report: Report, checkout: Path) -> None:
    """Play a Pod beside PostgreSQL, replace it by another while requests come, and see that one ledger has them all."""
    folder = checkout / "deploy/kubernetes/replicas"
    keys, password = Keys.new(), secrets.token_hex(16)
    objects = built(folder)
    (deployment,) = (each for each in objects if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    delay_s, grace_s = 10.0, float(pod["terminationGracePeriodSeconds"])
    with report.step("PostgreSQL, the Secret, and `podman kube play` of one Pod") as step:
        podman.run("tag", "passthrough", pod["containers"][0]["image"])
        podman.run("network", "create", NETWORK)
        wanted = {"POSTGRES_USER": "passthrough", "POSTGRES_DB": "passthrough", "POSTGRES_PASSWORD": password}
        variables = (part for each in wanted.items() for part in ("--env", "=".join(each)))
        podman.run("run", "-d", "--name", DATABASE, "--network", NETWORK, *variables, "postgres:17-alpine")
        values = keys.variables | {"LEDGER_URL": f"postgresql://passthrough:{password}@{DATABASE}/passthrough"}
        del values["PASSTHROUGH_SANDBOX"]
        secret = json.dumps({name: base64.b64encode(value.encode()).decode() for name, value in values.items()})
        podman.run("secret", "create", "passthrough", "-", stdin=secret.encode())
        play(podman, folder, OLD)
        old = address(podman, OLD)
        ready(old)
        assert get(f"http://{old}:4001/healthz")[0] == 200
        step.result = "/readyz and /healthz are 200 at the Pod's address, without a key"
    with report.step("look from inside") as step:
        step.result = inside.check(podman, container_of(OLD))
    first, second = Client(f"http://{old}:4000", keys.client), Client("", keys.client)
    with report.step("OCR with Mistral's SDK; ask without keys") as step:
        first.ocr(pages=3)
        assert [401, 401] == [get(f"http://{old}:{path}")[0] for path in ("4000/mistral/v1/models", "4001/metrics")]
        assert get(f"http://{old}:4001/metrics", keys.admin)[0] == 200
        step.result = "200: 3 pages; 401 without a client key, 401 for the metrics without the admin key"
    with report.step("play a Pod with a configuration that is wrong") as step:
        play(podman, folder, WRONG, "pass_through_endpoints: [{path: /mistral, taget: x}]\n")
        until(lambda: podman.inspect(container_of(WRONG))["State"]["Status"] == "exited", what="its end")
        assert podman.inspect(container_of(WRONG))["State"]["ExitCode"] == 2
        assert "taget" in podman.logs(container_of(WRONG))
        first.ocr(pages=1)
        step.result = "exit code 2, the message names the key; the Pod before serves on"
    with report.step("play the next Pod, and stop the first with SIGTERM while both are asked") as step:
        play(podman, folder, NEW)
        new = address(podman, NEW)
        ready(new)
        second.url = f"http://{new}:4000"
        began = time.monotonic()
        with ThreadPoolExecutor(1) as threads:
            # As the kubelet does: the container first, then what holds the Pod's network. `podman pod stop` takes both at once.
            stopping = threads.submit(podman.run, "stop", "--time", str(int(grace_s)), container_of(OLD))
            until(lambda: get(f"http://{old}:4001/readyz")[0] == 503, what="the first Pod is not ready")
            first.ocr(pages=2)  # a node that has not noticed yet
            assert closes(old, keys.client)
            while not stopping.done():
                second.ocr(pages=1)
            stopping.result()
        took_s = time.monotonic() - began
        state = podman.inspect(container_of(OLD))["State"]
        assert ("exited", 0) == (state["Status"], state["ExitCode"]), (state, podman.logs(container_of(OLD))[-2000:])
        assert took_s < grace_s
        served = f"served on for {delay_s:.0f} s, each response closed its connection"
        step.result = f"{served}; exit code 0; {second.requests} calls to the next Pod"
    with report.step("usage in the Pod that is left") as step:
        both = Client("", "", first.requests + second.requests, first.pages + second.pages)

        def total() -> dict[str, Any]:
            told = podman.run("exec", container_of(NEW), "passthrough", "usage", "--format", "json")
            return ocr_total(told.stdout)

        until(lambda: total()["pages"] == both.pages, what="all entries in the ledger")
        step.result = f"of both Pods: {booked(total(), both)}"
    with report.step("stop the last Pod") as step:
        podman.run("stop", "--time", str(int(grace_s)), container_of(NEW))
        assert podman.inspect(container_of(NEW))["State"]["ExitCode"] == 0
        step.result = "exit code 0"


def ready(host: str) -> None:
    """Wait until a Pod is ready, and nothing of it is degraded."""
    until(lambda: '"ok"' in get(f"http://{host}:4001/readyz")[1], what="a Pod that is ready")


def closes(host: str, key: str) -> bool:
    """Whether a response, asked for on a connection that could be kept, is the last on it. It is not billed."""
    connection = http.client.HTTPConnection(host, 4000, timeout=10)
    connection.request("GET", "/mistral/v1/models", headers={"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.getheader("Connection", "").lower() == "close"
