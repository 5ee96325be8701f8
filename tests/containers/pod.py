"""The sidecar of deploy/kubernetes in a Pod, by `podman kube play`, with an application beside it that calls it with the SDK.

Podman 4.3 is no Kubernetes. What is rewritten for it is in `as_podman_takes_it`, and nothing else; what the kubelet does beside
(probes at the Pod's address, the new files of a ConfigMap) these tests do.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from pathlib import Path
from typing import Any, Final

import yaml

from tests.containers import inside
from tests.containers.client import MODEL, Client, data_url, get
from tests.containers.podman import Podman, until
from tests.containers.report import Report
from tests.containers.single import booked_in
from tests.harness.documents import words_of
from tests.harness.kustomization import built

POD: Final = "application-pod-0"
SIDECAR: Final = f"{POD}-passthrough"
APPLICATION: Final = f"{POD}-application"
_ASK: Final = """
import json, os, sys
from mistralai.client import Mistral
with Mistral(api_key="of no use", server_url=os.environ["MISTRAL_SERVER_URL"]) as client:
    response = client.ocr.process(model=sys.argv[1], document={"document_url": sys.stdin.read()})
print(json.dumps([page.markdown for page in response.pages]))
"""


def as_podman_takes_it(objects: list[dict[str, Any]]) -> str:
    """Return the manifests as podman 4.3 understands them.

    1. It knows no sidecars: the init container that always restarts becomes the first of the ordinary containers.
    2. It would run `curl` inside for a probe's `httpGet`, which the image lacks: probes are left out, and asked from outside.
    3. The sandbox stands in for the provider.
    """
    for each in objects:
        if each["kind"] == "Deployment":
            pod = each["spec"]["template"]["spec"]
            sidecars = pod.pop("initContainers")
            for sidecar in sidecars:
                assert sidecar.pop("restartPolicy") == "Always"
                for probe in ("startupProbe", "livenessProbe"):
                    del sidecar[probe]
                sidecar["env"].append({"name": "PASSTHROUGH_SANDBOX", "value": "1"})
            pod["containers"] = [*sidecars, *pod["containers"]]
    return yaml.safe_dump_all(objects)


def sidecar(podman: Podman, report: Report, checkout: Path) -> None:
    """Play the sidecar's Pod, call the proxy from the application, change the ConfigMap, and end the Pod."""
    key = f"mistral-{secrets.token_hex(16)}"
    objects = built(checkout / "deploy/kubernetes/sidecar")
    (deployment,) = (each for each in objects if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    client = Client("http://127.0.0.1:4000", "")
    with report.step("podman kube play") as step:
        podman.run("tag", "passthrough", pod["initContainers"][0]["image"])
        # Podman 4.3 keeps a Secret of Kubernetes as this.
        secret = json.dumps({"api-key": base64.b64encode(key.encode()).decode()})
        podman.run("secret", "create", "mistral", "-", stdin=secret.encode())
        grace_s = float(pod["terminationGracePeriodSeconds"])
        probes = pod["initContainers"][0]
        paths = [probes["startupProbe"]["httpGet"]["path"], probes["livenessProbe"]["httpGet"]["path"]]
        podman.run("kube", "play", "-", stdin=as_podman_takes_it(objects).encode())
        address = podman.output("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", infra(podman))
        until(lambda: get(f"http://{address}:4001{paths[0]}")[0] == 200, what="the start-up probe")
        assert get(f"http://{address}:4001{paths[1]}")[0] == 200
        step.result = f"probes at the Pod's address: {' and '.join(paths)} are 200"
    with report.step("look from inside") as step:
        step.result = inside.check(podman, SIDECAR)
    with report.step("call it from outside the Pod") as step:
        refusals = []
        for port, path in ((4000, "/mistral/v1/models"), (4001, "/metrics")):
            try:
                refusals.append(str(get(f"http://{address}:{port}{path}")[0]))
            except OSError:
                refusals.append("no connection")
        assert refusals == ["no connection", "403"], refusals
        step.result = "port 4000: no connection; port 4001: health only (403)"
    with report.step("OCR from the application's container, with Mistral's SDK") as step:
        for pages in (3, 2):
            ask(podman, client, pages)
        step.result = "200: 3 and 2 pages, the words of each page; the application has no key"
    with report.step("change the ConfigMap") as step:
        folder = podman.output("volume", "inspect", "--format", "{{.Mountpoint}}", "passthrough")
        routes = Path(folder) / "routes.yaml"
        text = routes.read_text("utf-8")
        (routes.parent / "new").write_text(text.replace("path: /mistral", "path: /other"), "utf-8")
        (routes.parent / "new").rename(routes)
        until(lambda: "Reloaded" in podman.logs(SIDECAR), what="a reload")
        assert "404" in failure(podman)
        (routes.parent / "new").write_text(text, "utf-8")
        (routes.parent / "new").rename(routes)
        until(lambda: podman.logs(SIDECAR).count("Reloaded") == 2, what="another reload")
        ask(podman, client, 1)
        step.result = "the route is another (404), and back (200), without a restart"
    with report.step("usage in the sidecar's container") as step:
        step.result = booked_in(podman, SIDECAR, client)
    with report.step("end the Pod") as step:
        began = time.monotonic()
        podman.run("pod", "stop", "--time", str(int(grace_s)), POD)
        state = podman.inspect(SIDECAR)["State"]
        assert ("exited", 0) == (state["Status"], state["ExitCode"]), (state, podman.logs(SIDECAR)[-2000:])
        assert time.monotonic() - began < grace_s
        step.result = "exit code 0"


def infra(podman: Podman) -> str:
    """Return the container that holds the Pod's network."""
    return podman.output("pod", "inspect", "--format", "{{.InfraContainerID}}", POD)


def ask(podman: Podman, client: Client, pages: int) -> None:
    """Let the application read a PDF, and see each page's words."""
    asked = podman.run(
        "exec", "-i", APPLICATION, "/opt/application/bin/python", "-c", _ASK, MODEL, stdin=data_url(pages).encode()
    )
    read = json.loads(asked.stdout)
    assert [words_of(page) in text for page, text in enumerate(read)] == [True] * pages, read
    client.requests += 1
    client.pages += pages


def failure(podman: Podman) -> str:
    """Return what the application's call fails with."""
    asked = podman.run(
        *("exec", "-i", APPLICATION, "/opt/application/bin/python", "-c", _ASK, MODEL),
        stdin=data_url(1).encode(),
        check=False,
    )
    assert asked.returncode != 0
    return asked.stderr.decode()
