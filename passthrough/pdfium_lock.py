"""The lock that every user of pdfium holds: the library is not thread safe, and two of them may be in one process."""

from __future__ import annotations

import threading
from typing import Final

PDFIUM: Final = threading.Lock()
"""Held around each use of pypdfium2: the sandbox's reader and the client's, where `passthrough ocr --sandbox` runs both."""
