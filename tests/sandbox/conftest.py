"""The sandbox, as any HTTP client and as Mistral's SDK see it.

Several modules are tested through one face:

* `test_service`: service, request, checks, models, errors, upload, file_store, file_routes, ocr, sources, provider, resources,
  responses, encoded_response, empty_values.
* `test_documents`: documents, pages, job_thread.
* `office/test_office_document`: office_document, office_page, word, slides, text_blocks, xml_events, zip_package.
* `text/test_chat`: chat, chat_request, tokens, pace.
* `batch/test_batches`: batches, job, job_routes, lines, results.
* `test_sdk`: all of it, by its client's models.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.harness.sandbox_caller import Caller, sandbox


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    """A caller of a sandbox that takes any credential or none."""
    async with sandbox() as one:
        yield one
