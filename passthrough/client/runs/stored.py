"""Makes outputs of a stored response, without a call."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path, PurePath

from ..documents import Document
from ..errors import DocumentError
from ..output.manifest import Manifests
from ..output.places import stored_place
from ..output.publish import publish
from ..output.work_folder import claim
from ..rendering.rendered import write_rendered
from ..shown import shown
from .plan import hash_of
from .results import DocumentResult
from .settings import RunSettings


def stored_response(path: Path) -> Document:
    """Return a stored response as the document that its outputs are named after."""
    return Document(shown(path), PurePath(path.name), path)


def stored_result(document: Document, manifests: Manifests, settings: RunSettings) -> DocumentResult:
    """Return what came of a stored response. Blocks. Raises nothing that concerns it alone."""
    path = document.path
    assert path is not None
    try:
        digest = hash_of(path)
        if settings.to_stdout:
            with tempfile.TemporaryDirectory() as folder:
                written = write_rendered([(path, None)], path.stem, False, settings.rendered, Path(folder))
                return DocumentResult(document, text=(Path(folder) / written.names[0]).read_bytes(), notes=written.notes)
        place = stored_place(path, settings.out, manifests)
        with claim(place, manifests(place.folder)) as work:
            if work.is_paid:
                raise DocumentError("A run of its document was stopped after it was paid for.", "Run that once more first.")
            work.prepare(digest, settings.fingerprint)
            render = partial(write_rendered, [(path, None)], place.base, settings.asked.has_images, settings.rendered)
            written = render(work.outputs)
            outputs = publish(work, written.names, overwrite=settings.overwrite, adds=PurePath(place.key).name != path.name)
            return DocumentResult(document, outputs, notes=written.notes)
    except DocumentError as error:
        return DocumentResult(document, failure=error)
    except OSError as error:
        return DocumentResult(document, failure=DocumentError(f"A file cannot be written: {error.strerror or error}."))
