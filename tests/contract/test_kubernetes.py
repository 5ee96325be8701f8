"""The manifests in `deploy/kubernetes/`: the API takes them, they fit each other, and the program takes what they set."""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import passthrough
from passthrough.config.environment import environment
from passthrough.config.load import load
from passthrough.config.model import Config
from passthrough.server.instance import CLOSE_ACCOUNTING_S
from tests.harness.kustomization import Object, built

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
KUSTOMIZATIONS = sorted(path.parent.name for path in FOLDER.glob("*/kustomization.yaml"))
VERSIONS = ("1.29", "1.33", "1.37")
"""The oldest version of Kubernetes that the pages name, one between, and the newest that there are schemas of."""
IMAGE_SETS = {"PASSTHROUGH_LISTEN_HOST": "0.0.0.0", "PASSTHROUGH_ADMIN_HOST": "0.0.0.0"}
"""The image's variables that a manifest may override: see the Dockerfile, which `test_packaging.py` holds."""
LEDGER_URL = "postgresql://passthrough:secret@postgresql/passthrough"
SERVICE_MONITOR = {
    "apiVersion": str,
    "kind": str,
    "metadata": {"name": str, "labels": dict},
    "spec": {
        "jobLabel": str,
        "selector": {"matchLabels": dict},
        "endpoints": [
            {
                "port": str,
                "path": str,
                "interval": str,
                "authorization": {"type": str, "credentials": {"name": str, "key": str}},
            }
        ],
    },
}
"""What is used of the Prometheus Operator's ServiceMonitor (monitoring.coreos.com/v1), which is no kind of Kubernetes itself."""


def pods(objects: list[Object]) -> Iterator[Object]:
    """Yield the Pods' templates."""
    yield from (each["spec"]["template"] for each in objects if each["kind"] in {"Deployment", "StatefulSet"})


def proxy(pod: Object) -> Object:
    """Return the proxy's container."""
    containers = (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
    return next(each for each in containers if each["name"] == "passthrough")


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """Return the objects of one kind."""
    return [each for each in objects if each["kind"] == kind]


def variables(container: Object) -> dict[str, str]:
    """Return what the container sets over the image, with a value of its own for each that comes from the Secret."""
    secret = {each["name"]: f"canary-{each['name'].lower()}-0123456789" for each in container["env"] if "valueFrom" in each}
    return IMAGE_SETS | secret | {each["name"]: each["value"] for each in container["env"] if "value" in each}


async def loaded(name: str, folder: Path) -> Config:
    """Load the configuration of a kustomization with the variables of its Pods."""
    objects = built(FOLDER / name)
    (config,) = of_kind(objects, "ConfigMap")
    (pod,) = pods(objects)
    environ = variables(proxy(pod))
    if "LEDGER_URL" in environ:
        environ["LEDGER_URL"] = LEDGER_URL
    (folder / "routes.yaml").write_text(config["data"]["routes.yaml"], "utf-8")
    file = str(folder / "routes.yaml")
    return await asyncio.to_thread(lambda: load(file, environment(file, environ, folder), cwd=folder))


# ── the API ──


def validate(each: Object, version: str) -> None:
    """Raise where the schemas of a version of Kubernetes do not take an object; unknown fields are refused."""
    importlib.import_module("kubernetes_validate").validate(each, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_the_api_takes_every_object(name: str, version: str) -> None:
    """Each is valid, without a field that the API does not know."""
    objects = built(FOLDER / name)
    assert [] != objects
    for each in objects:
        validate(each, version)


@pytest.mark.parametrize(
    ("kind", "path", "field"),
    [
        ("Deployment", ("spec",), "maxUnavailable"),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readinessProbe"), "intervalSeconds"),
        ("NetworkPolicy", ("spec", "ingress", 0), "port"),
        ("HorizontalPodAutoscaler", ("spec",), "replicas"),
        ("PodDisruptionBudget", ("spec",), "maxSurge"),
        ("Service", ("spec",), "port"),
    ],
)
def test_the_schemas_refuse_what_the_api_does_not_know(kind: str, path: tuple[Any, ...], field: str) -> None:
    """A misspelt or misplaced field is noticed, however deep it lies."""
    each = copy.deepcopy(of_kind(built(FOLDER / "replicas"), kind)[0])
    inner: Any = each
    for step in path:
        inner = inner[step]
    inner[field] = 1
    with pytest.raises(Exception, match=f"'{field}' was unexpected"):
        validate(each, VERSIONS[-1])


def test_the_service_monitor_has_the_fields_that_are_said() -> None:
    """It has what the Operator's definition has, and nothing else; it asks a port that the admin Service has."""
    monitor = yaml.safe_load((FOLDER / "replicas/service-monitor.yaml").read_text("utf-8"))

    def fits(found: Any, wanted: Any) -> bool:
        if isinstance(wanted, dict):
            return found.keys() == wanted.keys() and all(fits(found[name], wanted[name]) for name in wanted)
        if isinstance(wanted, list):
            return all(fits(each, wanted[0]) for each in found)
        return isinstance(found, wanted)

    assert fits(monitor, SERVICE_MONITOR)
    objects = built(FOLDER / "replicas")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [each for each in of_kind(objects, "Service") if wanted <= each["metadata"]["labels"].items()]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert [endpoint["port"]] == [each["name"] for each in service["spec"]["ports"]]
    rules = (ROOT / "deploy/alerts.yaml").read_text("utf-8")
    assert set(re.findall(r'job="(\w+)"', rules)) == {service["metadata"]["labels"][monitor["spec"]["jobLabel"]]}
    (admin_key,) = [each for each in proxy(next(pods(objects)))["env"] if each["name"] == "ADMIN_KEY"]
    assert admin_key["valueFrom"]["secretKeyRef"] == endpoint["authorization"]["credentials"]


KUBECTL = shutil.which("kubectl")


@pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl")
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_kustomize_makes_the_same_objects(name: str) -> None:
    """What the other tests look at is what `kubectl kustomize` prints, names of ConfigMaps with their suffix too."""
    told = subprocess.run([str(KUBECTL), "kustomize", FOLDER / name], capture_output=True, text=True, check=True).stdout
    made = [json.dumps(each, sort_keys=True) for each in yaml.safe_load_all(told)]
    assert sorted(made) == sorted(json.dumps(each, sort_keys=True) for each in built(FOLDER / name))


def test_every_file_is_part_of_a_kustomization() -> None:
    """None is left out but what only some clusters know, which is named there for who wants it."""
    assert {"replicas", "sidecar", "stateful"} == set(KUSTOMIZATIONS)
    for name in KUSTOMIZATIONS:
        text = (FOLDER / name / "kustomization.yaml").read_text("utf-8")
        files = {path.name for path in (FOLDER / name).iterdir()} - {"kustomization.yaml"}
        assert files == {file for file in files if re.search(rf"(- |\[|, ){re.escape(file)}\b", text)}


# ── the program ──


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
async def test_the_configuration_is_served(name: str, tmp_path: Path) -> None:
    """With what the Pod sets, the configuration is without a problem or a warning, and the Pod has the ports that it names."""
    config = await loaded(name, tmp_path)
    assert () == config.warnings
    (pod,) = pods(built(FOLDER / name))
    ports = {each["name"]: each["containerPort"] for each in proxy(pod)["ports"]}
    assert config.listen.admin_port == ports["admin"]
    assert ports.get("http", config.listen.port) == config.listen.port
    assert f"passthrough:{passthrough.__version__}" == proxy(pod)["image"]


@pytest.mark.parametrize("name", ["replicas", "stateful"])
async def test_replicas_share_one_ledger_and_need_keys(name: str, tmp_path: Path) -> None:
    """The ledger is the Secret's, clients need a key, and what operators ask needs one, too."""
    config = await loaded(name, tmp_path)
    assert LEDGER_URL == config.ledger
    assert config.admin_digest is not None
    assert 1 == len(config.budgets)


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
async def test_a_pod_is_given_the_time_that_its_stop_takes(name: str, tmp_path: Path) -> None:
    """It is not killed before its requests have ended and its books are closed."""
    listen = (await loaded(name, tmp_path)).listen
    (pod,) = pods(built(FOLDER / name))
    stop_s = listen.drain_delay_s + listen.drain_timeout_s + CLOSE_ACCOUNTING_S
    assert stop_s < pod["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_a_pod_may_do_as_little_as_can_be(name: str) -> None:
    """It is what the standard `restricted` demands (kubernetes.io, Pod Security Standards), and more; no value is a secret."""
    (pod,) = pods(built(FOLDER / name))
    container = proxy(pod)
    context = pod["spec"]["securityContext"] | container["securityContext"]
    assert (True, True, False) == (
        context["runAsNonRoot"],
        context["readOnlyRootFilesystem"],
        context["allowPrivilegeEscalation"],
    )
    assert {"drop": ["ALL"]} == context["capabilities"]
    assert {"type": "RuntimeDefault"} == context["seccompProfile"]
    assert pod["spec"]["enableServiceLinks"] is False
    assert {"memory"} == container["resources"]["limits"].keys()
    for each in container["env"]:
        assert ("value" in each) == each["name"].startswith("PASSTHROUGH_"), each["name"]
    (config,) = [each for each in container["volumeMounts"] if each["name"] == "config"]
    assert "subPath" not in config
    assert {"/etc/passthrough", "/data", "/tmp"} == {each["mountPath"] for each in container["volumeMounts"]}


@pytest.mark.parametrize(("name", "kind"), [("replicas", "Deployment"), ("stateful", "StatefulSet")])
def test_objects_of_the_replicas_name_each_other(name: str, kind: str) -> None:
    """Selectors find the Pods, ports are the container's, and the autoscaler has the replicas to itself."""
    objects = built(FOLDER / name)
    (workload,) = of_kind(objects, kind)
    pod = workload["spec"]["template"]
    labels = pod["metadata"]["labels"]
    ports = {each["name"] for each in proxy(pod)["ports"]}
    for selecting in ("Service", "PodDisruptionBudget", "NetworkPolicy", kind):
        for each in of_kind(objects, selecting):
            found = each["spec"].get("selector") or each["spec"].get("podSelector")
            assert found.get("matchLabels", found).items() <= labels.items(), each["metadata"]["name"]
    services = of_kind(objects, "Service")
    assert ports == {port["targetPort"] for each in services for port in each["spec"]["ports"]}
    (policy,) = of_kind(objects, "NetworkPolicy")
    assert ports == {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    (scaler,) = of_kind(objects, "HorizontalPodAutoscaler")
    named = scaler["spec"]["scaleTargetRef"]
    assert named == {"apiVersion": workload["apiVersion"], "kind": kind, "name": workload["metadata"]["name"]}
    assert scaler["spec"]["minReplicas"] >= 2
    assert "replicas" not in workload["spec"]
    spreads = [each["labelSelector"]["matchLabels"] for each in pod["spec"]["topologySpreadConstraints"]]
    assert [labels] == spreads
    (config,) = [each["configMap"]["name"] for each in pod["spec"]["volumes"] if "configMap" in each]
    assert [config] == [each["metadata"]["name"] for each in of_kind(objects, "ConfigMap")]


def test_a_new_pod_serves_before_an_old_one_stops() -> None:
    """The Deployment never has fewer Pods than it should; a StatefulSet cannot promise that, and keeps the journals instead."""
    (deployment,) = of_kind(built(FOLDER / "replicas"), "Deployment")
    assert {"maxSurge": 1, "maxUnavailable": 0} == deployment["spec"]["strategy"]["rollingUpdate"]
    objects = built(FOLDER / "stateful")
    (stateful,) = of_kind(objects, "StatefulSet")
    assert stateful["spec"]["serviceName"] in {each["metadata"]["name"] for each in of_kind(objects, "Service")}
    volumes = {each["name"] for each in stateful["spec"]["template"]["spec"]["volumes"]}
    claims = {each["metadata"]["name"] for each in stateful["spec"]["volumeClaimTemplates"]}
    mounted = {each["name"]: each["mountPath"] for each in proxy(stateful["spec"]["template"])["volumeMounts"]}
    assert volumes.isdisjoint(claims)
    assert mounted.keys() == volumes | claims
    assert ["/data"] == [mounted[each] for each in claims]


# ── the page ──


def blocks(language: str) -> list[str]:
    """Return the blocks of docs/kubernetes.md in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "docs/kubernetes.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_the_page_makes_a_prometheus_rule_of_the_alerts() -> None:
    """What the page's command hands to kubectl is an object whose specification is the file of alerts."""
    (command,) = [block for block in blocks("sh") if "PrometheusRule" in block]
    made, _, applied = command.rpartition(" | ")
    assert applied.startswith("kubectl -n passthrough apply -f -")
    told = subprocess.run(["sh", "-euc", made], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rule = yaml.safe_load(told)
    assert ("monitoring.coreos.com/v1", "PrometheusRule") == (rule["apiVersion"], rule["kind"])
    assert yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text("utf-8")) == rule["spec"]


def test_the_page_names_every_value_of_the_secret() -> None:
    """What the page has one write into the Secret is what the Pods take from it."""
    (written,) = [block for block in blocks("") if "LEDGER_URL=" in block]
    (pod,) = pods(built(FOLDER / "replicas"))
    wanted = [each["valueFrom"]["secretKeyRef"] for each in proxy(pod)["env"] if "valueFrom" in each]
    assert {"passthrough"} == {each["name"] for each in wanted}
    assert [each["key"] for each in wanted] == re.findall(r"^(\w+)=", written, re.MULTILINE)


@pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl")
def test_the_pages_own_kustomization_is_built(tmp_path: Path) -> None:
    """The page's kustomization over a checkout names another image, has its own configuration, and takes a ServiceMonitor."""
    shown, monitored = blocks("yaml")
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(yaml.safe_load(shown) | yaml.safe_load(monitored)), "utf-8")
    (tmp_path / "routes.yaml").write_text("pass_through_endpoints: []\n", "utf-8")
    (tmp_path / "passthrough/deploy").mkdir(parents=True)
    shutil.copytree(FOLDER, tmp_path / "passthrough/deploy/kubernetes")
    told = subprocess.run([str(KUBECTL), "kustomize", tmp_path], capture_output=True, text=True, check=True).stdout
    objects = list(yaml.safe_load_all(told))
    (pod,) = pods(objects)
    assert f"registry.example/passthrough:{passthrough.__version__}" == proxy(pod)["image"]
    (config,) = of_kind(objects, "ConfigMap")
    assert {"routes.yaml": "pass_through_endpoints: []\n"} == config["data"]
    assert {"passthrough"} == {each["metadata"]["namespace"] for each in objects}
    (monitor,) = of_kind(objects, "ServiceMonitor")
    assert "prometheus" == monitor["metadata"]["labels"]["release"]
    for each in objects:
        if each is not monitor:
            validate(each, VERSIONS[0])
