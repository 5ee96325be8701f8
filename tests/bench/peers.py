"""What is measured: the targets, their configurations, how each is started, and why one is left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from compileall import compile_dir
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from .bodies import TOKEN
from .workloads import TRACED, UNMETERED, WORKLOADS

ROOT = Path(__file__).parents[2]

ROUTES = ("plain", "tls", "side", "chat")
"""First segments of paths: the upstream, the upstream with TLS, another one beside it, and the first for chats."""

BEFORE = "before"
"""The target that is another checkout of this project."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target runs, on which port, and where the upstreams are."""

    folder: Path
    port: int
    plain: int
    tls: int
    side: int
    ca_file: Path

    def upstream(self, route: str) -> str:
        """Return the origin behind a route."""
        host = {"tls": f"https://localhost:{self.tls}", "side": f"http://127.0.0.1:{self.side}"}
        return host.get(route, f"http://127.0.0.1:{self.plain}")


@dataclass(frozen=True, slots=True)
class Launch:
    """A command line and what it needs in its environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """One target: `launch` writes its files and says how it is started, `missing` says why it cannot be, `version` what it is."""

    name: str
    launch: Callable[[Place], Launch] | None
    missing: Callable[[], str]
    version: Callable[[], str]
    workers: int = 1


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")


def _absent(name: str) -> str:
    return "" if _program(name) else f"there is no {name} on the PATH"


def _first_line(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().partition("\n")[0]


# ── this proxy ──


def _routes_yaml(place: Place, meter: str) -> str:
    lines = [f"client_keys: [{{name: bench, key: {TOKEN}}}]", "ledger: sqlite:///bench.db"]
    lines += [*_model_list(place), "pass_through_endpoints:"]
    for route in ROUTES:
        keys = f"path: /{route}, target: '{place.upstream(route)}', include_subpath: true, forward_headers: true"
        keys += ", headers: {Authorization: Bearer provider-key-of-the-operator}"
        keys += f", meter: {'chat' if route == 'chat' and meter == 'auto' else meter}"
        if route == "tls":
            keys += f", upstream_tls: {{ca_file: '{place.ca_file}'}}"
        lines.append(f"  - {{{keys}}}")
    return "\n".join(lines) + "\n"


def _model_list(place: Place) -> list[str]:
    """Return the lines of LiteLLM's `model_list`, one model for each deployment that a workload names."""
    paths = {workload.model: workload.path for workload in WORKLOADS if workload.model}
    found = ["model_list:"]
    for model, path in paths.items():
        api_base = place.upstream("plain") + "/" + path.split("/", 2)[2]
        params = f"model: mistral/mistral-ocr-latest, api_key: provider-key-of-the-operator, api_base: '{api_base}'"
        found.append(f"  - {{model_name: {model}, litellm_params: {{{params}}}, model_info: {{mode: ocr}}}}")
    return found


def passthrough(place: Place, meter: str = "auto", workers: int = 1, root: Path = ROOT) -> Launch:
    """Keys, meter, log and ledger are on, as a user runs it; its bytecode is there, as it is wherever it was installed."""
    compile_dir(root / "passthrough", quiet=2)
    (place.folder / "routes.yaml").write_text(_routes_yaml(place, meter))
    flags = ("--port", str(place.port), "--admin-port", "0", "--log-format", "json", "--workers", str(workers))
    return Launch((sys.executable, "-m", "passthrough", "serve", *flags), {"PYTHONPATH": str(root)})


def _traced(place: Place) -> Launch:
    """The same, and exports a span for each exchange to the upstream beside the others, which takes any request."""
    plain = passthrough(place)
    return Launch(plain.argv, {**plain.env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{place.upstream('side')}/length/100/ocr"})


def _no_tracing() -> str:
    return "" if find_spec("opentelemetry.exporter") else "the extra 'otel' is not installed"


def _passthrough_version(root: Path = ROOT) -> str:
    commit = _first_line("git", "-C", str(root), "rev-parse", "--short", "HEAD")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop"))
    return f"{commit}, CPython {sys.version.split()[0]}, {libraries}"


def _no_workers() -> str:
    argv = (sys.executable, "-m", "passthrough", "serve", "--help")
    said = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False).stdout
    return "this version serves with one worker" if "only 1 is served" in " ".join(said.split()) else ""


# ── nginx and HAProxy ──

_NGINX = """\
daemon off; worker_processes 1; worker_rlimit_nofile 8192; pid nginx.pid; error_log stderr error; {user}
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 10000000; proxy_http_version 1.1; proxy_set_header Connection "";
  client_body_temp_path body; proxy_temp_path proxied; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  {settings}
  upstream plain {{ server 127.0.0.1:{plain}; keepalive 600; keepalive_requests 10000000; }}
  upstream side {{ server 127.0.0.1:{side}; keepalive 600; keepalive_requests 10000000; }}
  upstream tls {{ server 127.0.0.1:{tls}; keepalive 600; keepalive_requests 10000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location /plain/ {{ proxy_pass http://plain/; }}
    location /chat/ {{ proxy_pass http://plain/; }}
    location /side/ {{ proxy_pass http://side/; }}
    location /tls/ {{
      proxy_pass https://tls/; proxy_ssl_name localhost; proxy_ssl_server_name on;
      proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca_file};
    }}
  }}
}}
"""

_UNBUFFERED = "proxy_buffering off; proxy_request_buffering off;"
_LARGE = "proxy_buffer_size 512k; proxy_buffers 4 512k; proxy_busy_buffers_size 1m; client_body_buffer_size 256k;"


def _nginx(settings: str) -> Callable[[Place], Launch]:
    def launch(place: Place) -> Launch:
        ports = {"plain": place.plain, "tls": place.tls, "side": place.side, "port": place.port}
        # Its workers leave root where they can, and then cannot write into the folder.
        user = "user root;" if os.geteuid() == 0 else ""
        (place.folder / "nginx.conf").write_text(_NGINX.format(settings=settings, user=user, ca_file=place.ca_file, **ports))
        return Launch((_program("nginx") or "nginx", "-p", str(place.folder), "-c", "nginx.conf"))

    return launch


_HAPROXY = """\
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  option http-no-delay
  timeout connect 10s
  timeout client 600s
  timeout server 600s
frontend traffic
  bind 127.0.0.1:{port}
  use_backend tls if {{ path_beg /tls/ }}
  use_backend side if {{ path_beg /side/ }}
  default_backend plain
backend plain
  http-request replace-path /[a-z]+/(.*) /\\1
  server one 127.0.0.1:{plain}
backend side
  http-request replace-path /[a-z]+/(.*) /\\1
  server one 127.0.0.1:{side}
backend tls
  http-request replace-path /[a-z]+/(.*) /\\1
  server one 127.0.0.1:{tls} ssl verify required ca-file {ca_file} sni str(localhost) verifyhost localhost
"""


def _haproxy(place: Place) -> Launch:
    ports = {"plain": place.plain, "tls": place.tls, "side": place.side, "port": place.port}
    (place.folder / "haproxy.cfg").write_text(_HAPROXY.format(ca_file=place.ca_file, **ports))
    return Launch((_program("haproxy") or "haproxy", "-db", "-q", "-f", "haproxy.cfg"))


# ── LiteLLM ──


def _litellm(program: str) -> Callable[[Place], Launch]:
    def launch(place: Place) -> Launch:
        lines = ["general_settings:", f"  master_key: {TOKEN}", "  pass_through_endpoints:"]
        for route in ROUTES:
            keys = f"path: /{route}, target: '{place.upstream(route)}', include_subpath: true, forward_headers: true"
            lines.append(f"    - {{{keys}, headers: {{Authorization: Bearer provider-key-of-the-operator}}}}")
        lines.extend(_model_list(place))
        (place.folder / "litellm.yaml").write_text("\n".join(lines) + "\n")
        env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "SSL_CERT_FILE": str(place.ca_file), "LITELLM_LOG": "ERROR"}
        argv = (program, "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(place.port), "--telemetry", "False")
        return Launch(argv, env)

    return launch


def _litellm_version(program: str) -> str:
    interpreter = Path(program).parent / "python"
    said = "import importlib.metadata as m, sys; print(m.version('litellm') + ', CPython ' + sys.version.split()[0])"
    return _first_line(str(interpreter if interpreter.exists() else sys.executable), "-c", said)


def peers(litellm: str | None, before: Path | None = None) -> tuple[Peer, ...]:
    """Return all targets in the order of the tables; `litellm` is its program, where it is not on the PATH.

    `before` is another checkout of this project, which is measured under the name BEFORE.
    """
    found = (litellm and shutil.which(litellm)) or (None if litellm else shutil.which("litellm")) or ""

    def nginx(name: str, settings: str) -> Peer:
        return Peer(name, _nginx(settings), lambda: _absent("nginx"), lambda: _first_line(_program("nginx") or "nginx", "-v"))

    def here(name: str, meter: str = "auto", workers: int = 1, root: Path = ROOT) -> Peer:
        missing = _no_workers if workers > 1 else lambda: ""
        return Peer(
            name, lambda place: passthrough(place, meter, workers, root), missing, lambda: _passthrough_version(root), workers
        )

    return (
        Peer("direct", None, lambda: "", lambda: "the upstream itself"),
        here("passthrough"),
        *(() if before is None else (here(BEFORE, root=before.resolve()),)),
        Peer(TRACED, _traced, _no_tracing, _passthrough_version),
        here(UNMETERED, meter="none"),
        here("passthrough-2-workers", workers=2),
        nginx("nginx", _UNBUFFERED),
        nginx("nginx-defaults", ""),
        nginx("nginx-large", _UNBUFFERED + _LARGE),
        Peer("haproxy", _haproxy, lambda: _absent("haproxy"), lambda: _first_line(_program("haproxy") or "haproxy", "-v")),
        Peer(
            "litellm",
            _litellm(found),
            lambda: "" if found else "there is no litellm on the PATH, and no --litellm",
            lambda: _litellm_version(found),
        ),
    )
