"""Encodes an entry as one line of text, and decodes it: exact, and compact enough to be written for every exchange."""

from __future__ import annotations

import json
from dataclasses import fields
from math import isfinite
from operator import attrgetter
from typing import Any, Final
from zlib import crc32

import orjson

from ...errors import PassthroughError
from ...meter.usage import Unmetered, Usage
from ..entry import Charge, Entry, Part

FORMAT: Final = 4
"""The version of the format; each change of the fields of Entry, Usage or Charge raises it. A line has their values in order.

New fields come last and have a default, so that lines of older formats can be read.
"""

READABLE: Final = (1, 2, 3, FORMAT)
"""The formats whose lines `decode` understands."""

_NOT_JOURNALED: Final = {"upstream_code", "trace"}  # for the log and for spans alone
_ENTRY: Final = tuple(field.name for field in fields(Entry) if field.name not in _NOT_JOURNALED)
_of_entry: Final = attrgetter(*_ENTRY)
_of_usage: Final = attrgetter(*(field.name for field in fields(Usage)))
_of_charge: Final = attrgetter(*(field.name for field in fields(Charge)))
_USAGE, _CHARGES, _PART = (_ENTRY.index(name) for name in ("usage", "charges", "part"))
_UNMETERED: Final = tuple(field.name for field in fields(Usage)).index("unmetered")

_json: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_value: Final = json.JSONDecoder().decode


class SpoiltLineError(PassthroughError):
    """A line is not as `line` made it: it was torn, overwritten, or written by another program."""


def line(value: object) -> bytes:
    """Return a JSON value as a line: the CRC-32 of the text in eight hexadecimal digits, a space, the text, a line feed."""
    return _summed(_json(value).encode("ascii"))


def _summed(text: bytes) -> bytes:
    return b"%08x %b\n" % (crc32(text), text)


def value_of(line: bytes) -> Any:
    """Return the value of a line (with its line feed or without). Raises SpoiltLineError."""
    digits, _, text = line.rstrip(b"\n").partition(b" ")
    try:
        if len(digits) == 8 and int(digits, 16) == crc32(text):
            return _value(text.decode("ascii"))
    except ValueError:
        pass
    raise SpoiltLineError("the line is not as it was written")


def encode(entry: Entry) -> bytes:
    """Return an entry's line; `decode` returns an equal entry.

    orjson takes a tenth of the standard library's time. It writes null for numbers that are not finite, refuses those beyond 64
    bits, and does not escape what is not ASCII: then the standard library writes the line.
    """
    values = list(_of_entry(entry))
    values[_USAGE] = _of_usage(entry.usage)
    values[_CHARGES] = [*map(_of_charge, entry.charges)]
    values[_PART] = entry.part._value_  # orjson takes a microsecond to find it
    if isfinite(entry.began_utc + entry.total_s + (entry.first_byte_s or 0.0) + (entry.overhead_s or 0.0)):
        try:
            text = orjson.dumps(values)
        except orjson.JSONEncodeError:
            return line(values)
        if text.isascii():
            return _summed(text)
    return line(values)


def decode(line: bytes) -> Entry:
    """Return the entry of a line that `encode` made, in one of the READABLE formats. Raises SpoiltLineError."""
    values = value_of(line)
    try:
        usage = values[_USAGE]
        if usage[_UNMETERED] is not None:
            usage[_UNMETERED] = Unmetered(usage[_UNMETERED])
        values[_USAGE] = Usage(*usage)
        values[_CHARGES] = tuple([Charge(*charge) for charge in values[_CHARGES]])
        values[_PART] = Part(values[_PART])
        return Entry(*values)
    except (TypeError, ValueError, LookupError):
        raise SpoiltLineError("the line is not an entry") from None
