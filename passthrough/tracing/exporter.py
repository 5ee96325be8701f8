"""The door to OpenTelemetry's SDK: its exporter, which posts what `encoding` has made of entries.

The exporter's public interface takes spans of the SDK, and encodes them slowly. So it gets one span that says nothing, and its
session, which is ours, posts the encoded batch in the place of that. Where to, with which headers, how long, when again and when
no more is the exporter's.

Imported by the thread that exports: the libraries come with the extra `otel`, and take a third of a second to import.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Final

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext

from .. import __version__
from ..accounting.entry import Entry
from .attributes import SpanConventions
from .collector_session import CollectorSession
from .encoding import SpanEncoder
from .parent import Parent, parent_of
from .sampling import is_sampled
from .settings import TracingSettings

_STAND_IN: Final = ReadableSpan("", SpanContext(1, 1, is_remote=False))
_COMPRESSIONS: Final = {"none": Compression.NoCompression, "gzip": Compression.Gzip, "deflate": Compression.Deflate}
_LEVEL_OF_NONE: Final = logging.CRITICAL + 1


class Exporter:
    """Exports batches of entries as spans; `trouble` says what went wrong with the last one. Belongs to one thread."""

    def __init__(self, settings: TracingSettings, conventions: SpanConventions) -> None:
        """Raises OSError where a certificate or a key of the settings cannot be used."""
        # The SDK's own messages would come with each batch, and one of them holds the headers.
        logging.getLogger("opentelemetry").setLevel(_LEVEL_OF_NONE)
        self._settings = settings
        self._session = CollectorSession(settings)
        self._encoder = SpanEncoder(conventions, {**_sdk(), **settings.resource, **_instance(settings)})
        self._exporter = OTLPSpanExporter(
            endpoint=settings.endpoint.reveal(),
            headers={name: value.reveal() for name, value in settings.headers.items()},
            timeout=settings.timeout_s,
            compression=_COMPRESSIONS[settings.compression],
            session=self._session,
        )

    @property
    def trouble(self) -> str | None:
        """What went wrong with the last batch, without the collector's address; None where all of it was taken."""
        return self._session.trouble

    def export(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """Export those entries that are sampled; return how many spans were taken, and how many were not."""
        spans = [(entry, parent) for entry in entries for parent in self._sampled(entry)]
        if not spans:
            return 0, 0
        session = self._session
        session.begin(self._encoder.request(spans))
        rejected = session.rejected
        taken = self._exporter.export((_STAND_IN,)) is SpanExportResult.SUCCESS
        if not taken or not session.is_taken:  # a redirect is a success for the SDK
            session.trouble = session.trouble or "the spans cannot be sent"
            return 0, len(spans)
        lost = min(session.rejected - rejected, len(spans))
        return len(spans) - lost, lost

    def shut_down(self) -> None:
        """Close the connection, and end a wait between two tries; on any thread."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK does not say what it returns

    def _sampled(self, entry: Entry) -> Iterator[Parent | None]:
        parent = parent_of(entry.trace)
        if is_sampled(self._settings.sampler, parent, int(entry.id, 16) if parent is None else parent.trace_id):
            yield parent


def _sdk() -> Mapping[str, str]:
    """Return what the SDK says of itself. Its Resource.create would also run detectors that variables name: they tell the command
    line, the user and the machine.
    """
    return {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": version("opentelemetry-sdk"),
    }


def _instance(settings: TracingSettings) -> dict[str, str]:
    """Return what tells this process from others, and its version, where the settings do not say it."""
    own = {"service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    return {name: value for name, value in own.items() if name not in settings.resource}
