"""The sandbox, as any HTTP client and as Mistral's SDK see it.

Several modules are tested through one face:

* `test_service`: service, request, models, errors, upload, file_store, ocr, provider.
* `test_documents`: documents, job_thread.
* `test_sdk`: all of it, by its client's models.
"""
