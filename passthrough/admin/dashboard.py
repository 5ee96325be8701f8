"""The dashboard's files: one page, its script and style, and the library that draws its charts."""

from __future__ import annotations

from importlib import resources
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

_TYPES: Final = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "txt": "text/plain"}
_SCRIPTS: Final = (
    "dashboard.js",
    "attention.js",
    "charts.js",
    "choices.js",
    "elements.js",
    "requests.js",
    "sections.js",
    "text.js",
)
_FILES: Final = {
    "/": "dashboard.html",
    **{f"/assets/{name}": name for name in _SCRIPTS},
    "/assets/dashboard.css": "dashboard.css",
    "/assets/icon.svg": "icon.svg",
    "/assets/uPlot.js": "uPlot.iife.min.js",
    "/assets/uPlot.css": "uPlot.min.css",
    "/assets/uPlot.txt": "uPlot.LICENSE.txt",
}


def add_dashboard(router: web.UrlDispatcher) -> None:
    """Add the dashboard's files to a router; they are read once."""
    folder = resources.files(__package__) / "assets"
    for path, name in _FILES.items():
        router.add_get(path, _serving((folder / name).read_bytes(), _TYPES[name.rpartition(".")[2]]))


def _serving(body: bytes, kind: str) -> Handler:
    async def page(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8")

    return page
