"""Parsers of HTTP syntax in the file: paths, URLs, hosts, header names and values (RFC 3986, RFC 9110).

They are pure, and raise InvalidValue for text that HTTP does not allow.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import idna

from ..proxy.auth import CREDENTIAL_HEADERS
from ..secret import Secret
from .problems import InvalidValue

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,200}", re.ASCII)  # RFC 9110 §5.6.2
_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.ASCII | re.DOTALL)
_PATH: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*", re.ASCII)  # RFC 3986 §3.3
_QUERY: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*", re.ASCII)  # RFC 3986 §3.4
_SCHEME_AS_HOST: Final = re.compile(r"https?:?", re.IGNORECASE)
_HOST_AND_PORT: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z0-9._~\-]{1,64}", re.ASCII)  # RFC 6874 §2, without escapes
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?", re.ASCII)  # `_`: names of containers
_LABEL_KEY: Final = re.compile(r"[a-z0-9_-]{1,40}", re.ASCII)
_ORIGIN_HINT: Final = "Name each origin, such as https://app.example."
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
OWNED: Final = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "proxy-connection", "keep-alive",
    "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade",
})  # fmt: skip
"""Headers that the proxy sets by itself: framing, Host, hop-by-hop (RFC 9110 §7.6.1)."""
_NO_LABELS: Final = frozenset(name.decode() for name in CREDENTIAL_HEADERS) | {"cookie", "proxy-authorization"}


@dataclass(frozen=True, slots=True)
class Location:
    """The parts of a target's URL; `host` is without brackets, `base_path` is empty instead of a single slash."""

    tls: bool
    host: str
    port: int
    base_path: bytes
    query: bytes

    @property
    def authority(self) -> str:
        """The host, and the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def route_path(text: str) -> str:
    """Return the path of a route as it is written: raw, beginning with `/`."""
    if not text.startswith("/"):
        raise InvalidValue("A path must begin with '/'.", "Write it such as /mistral.")
    if "?" in text or "#" in text:
        raise InvalidValue("A path has no '?' and no '#'.", "Put the query into 'target' or 'default_query_params'.")
    if "{" in text or text.endswith("/*"):
        raise InvalidValue("A path has no placeholders.", "Leave it out and write 'include_subpath: true'.")
    _check_path(text)
    return text


def _check_path(text: str) -> None:
    if not _PATH.fullmatch(text):
        raise InvalidValue("The path holds a character that must be percent-encoded.", "Write it as %XX, from its UTF-8 bytes.")
    if any(segment.lower().replace("%2e", ".") in {".", ".."} for segment in text.split("/")):
        raise InvalidValue("The path has dot segments.", "Write the path that is meant, without '.' and '..'.")


def location(text: str, what: str = "target") -> Location:
    """Return the parts of a target: http or https, a host, perhaps a port, a path and a query; no user, no fragment."""
    scheme, authority, path, query = _uri(text, what)
    if scheme not in {"http", "https"}:
        raise InvalidValue(f"A {what} begins with http:// or https://.", "Write it whole: https://api.mistral.ai")
    if "@" in authority:
        raise InvalidValue("A target has no user or password.", "Put credentials into 'headers'.")
    host, port = _host_and_port(authority)
    _check_path(path)
    if not _QUERY.fullmatch(query):
        raise InvalidValue("The target's query holds a character that must be percent-encoded.", "Write it as %XX.")
    base_path = b"" if path == "/" else path.encode("ascii")
    return Location(scheme == "https", host, port or (443 if scheme == "https" else 80), base_path, query.encode("ascii"))


def origin(text: str) -> bytes:
    """Return the origin of web pages as browsers write it (RFC 6454 §6.2): scheme, host, the port where it is not the scheme's.

    1. `*` and `null` are refused: the one means every page, and any page can have the other. On routes without keys, both would
       let in the whole web.
    2. Other schemes than http and https, which browsers' extensions and desktop programs have, are taken as they are written.
    """
    if text in {"*", "null"}:
        raise InvalidValue(f"'{text}' would let the pages of every site in, also where no key is asked for.", _ORIGIN_HINT)
    scheme, authority, path, query = _uri(text, "origin")
    if "*" in authority:
        raise InvalidValue("A '*' stands for nothing here: each origin is named by itself.", _ORIGIN_HINT)
    if path or query:
        raise InvalidValue(
            "An origin has no path and no query, not even a '/' at its end.", "Write its scheme, host and port only."
        )
    if "@" in authority:
        raise InvalidValue("An origin has no user or password.", "Write its scheme, host and port only.")
    name, port = _host_and_port(authority)
    if ":" in name:
        name = f"[{name}]"
    shown = name if port in {None, {"http": 80, "https": 443}.get(scheme)} else f"{name}:{port}"
    return f"{scheme}://{shown}".encode("ascii")


def proxy_url(secret: Secret) -> Secret:
    """Check the URL of an HTTP proxy; a user and a password are allowed."""
    scheme, authority, path, query = _uri(secret.reveal(), "proxy")
    if scheme != "http":
        raise InvalidValue("Only http:// proxies are served.", "Write http://host:port; TLS to the target passes through it.")
    _host_and_port(authority.rpartition("@")[2])
    if path not in {"", "/"} or query:
        raise InvalidValue("A proxy has no path and no query.", "Write http://host:port only.")
    return secret


def _uri(text: str, what: str) -> tuple[str, str, str, str]:
    if re.search(r"[\x00-\x20\x7f]", text):
        raise InvalidValue(f"The {what} holds a space or a control character.", "Remove it, or write %20.")
    match = _URI.fullmatch(text)
    if match is None:
        raise InvalidValue(f"The {what} is not a URL.", "Write it whole, with http:// or https:// before the host.")
    if match[5] is not None:
        raise InvalidValue(f"The {what} has a fragment ('#…'), which is never sent.", "Remove it.")
    if _SCHEME_AS_HOST.fullmatch(match[2]) and (match[2].endswith(":") or match[3].startswith("//")):
        # Read literally, it is the host `https` without its port, and the real host begins the path.
        hint = "Write it once: where a variable brings it along, 'os.environ/NAME' alone, without 'https://' before it."
        raise InvalidValue(f"The {what} has its scheme twice.", hint)
    return match[1].lower(), match[2], match[3], match[4] or ""


def _host_and_port(authority: str) -> tuple[str, int | None]:
    match = _HOST_AND_PORT.fullmatch(authority)
    if match is None or not match[1]:
        raise InvalidValue("There is no host that could be reached.", "Write it as host, host:port, or [IPv6 address]:port.")
    if match[2] and not (len(match[2]) < 9 and 1 <= int(match[2]) <= 65535):
        raise InvalidValue("The port is not one.", "Write a number from 1 to 65535.")
    # In a URL the '%' before a zone is itself escaped (RFC 6874 §2); most programs, and people, write it bare too.
    name = match[1].replace("%25", "%", 1) if match[1].startswith("[") else match[1]
    return host(name), int(match[2]) if match[2] else None


def host(text: str) -> str:
    """Return a host in lower case, without brackets, a name outside ASCII as punycode (IDNA 2008)."""
    if text.startswith("[") or ":" in text:
        address, percent, zone = text.removeprefix("[").removesuffix("]").partition("%")
        if percent and not _ZONE.fullmatch(zone):
            raise InvalidValue(
                "The zone of this IPv6 address is not one.", "Write an interface's name, in a URL [fe80::1%25eth0]."
            )
        try:
            return str(ipaddress.IPv6Address(address)) + percent + zone
        except ValueError:
            raise InvalidValue("This is not an IPv6 address.", "Write one such as ::1, in a URL [::1].") from None
    try:
        bare = text if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
    except UnicodeError:
        raise InvalidValue("The host is not a name that DNS could hold.", "Write it in its xn-- form.") from None
    labels = bare.removesuffix(".").split(".")
    if len(bare) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidValue("The host is not a name that DNS could hold.", "Write a name or an address, without a space.")
    if labels[-1].isdigit():
        try:
            return str(ipaddress.IPv4Address(bare))
        except ValueError:
            raise InvalidValue("This is not an IPv4 address.", "Write all four numbers.") from None
    return bare.lower()


def token(text: str) -> str:
    """Return an RFC 9110 token: the syntax of header names and methods."""
    if not _TOKEN.fullmatch(text):
        raise InvalidValue("This is not a name that HTTP allows.", "Use letters, digits and '-' only.")
    return text


def header_name(text: str) -> str:
    """Return the name of a header that may be set: a token, and none that the proxy owns."""
    if token(text).lower() in OWNED:
        hint = "Put the credentials into 'proxy'." if text.lower() == "proxy-authorization" else "Remove it."
        raise InvalidValue("The proxy sets this header by itself.", hint)
    return text


def label_name(text: str) -> bytes:
    """Return the name (lower case) of a header that labels exchanges: none that carries credentials, for labels are logged."""
    if token(text).lower() in _NO_LABELS:
        raise InvalidValue(
            "This header carries credentials, and labels are logged.", "Choose a header that names a person or team."
        )
    return text.lower().encode("ascii")


def label_fills(text: str) -> str | None:
    """Return the name of the label that a header fills, None for the plain one."""
    if not _LABEL_KEY.fullmatch(text):
        raise InvalidValue("This cannot be a label's name.", "Use 1 to 40 of a-z, 0-9, '-' and '_', in lower case, such as team.")
    return None if text == "label" else text


def field_name(text: str) -> bytes:
    """Return the name (lower case) of a header field in responses."""
    return token(text).lower().encode("ascii")


def authority(text: str) -> str:
    """Return the URL of a server of Entra's tokens, without the slash at its end; https only, which a bare host means, too."""
    whole = text if "://" in text else f"https://{text}"
    where = location(whole, "authority")
    if not where.tls:
        raise InvalidValue("An authority is asked with TLS only.", "Write https:// before the host.")
    if where.query:
        raise InvalidValue("An authority has no query.", "Write https://login.microsoftonline.com, or leave it out.")
    return whole.rstrip("/")


def webhook(secret: Secret) -> Secret:
    """Check the URL that warnings are posted to; it may carry a key in its path or query."""
    location(secret.reveal(), "webhook")
    return secret


def method(text: str) -> str:
    """Return a method, in upper case."""
    return token(text.strip()).upper()


def metered_method(text: str) -> str:
    """Return a method, in upper case, whose responses have a body."""
    if (found := method(text)) in {"HEAD", "OPTIONS"}:
        raise InvalidValue(f"The response to {found} counts nothing.", "Write methods such as POST, GET, or remove it.")
    return found


def header_value(secret: Secret) -> Secret:
    """Check a header's value: visible ASCII, spaces and tabs, none of them around it (RFC 9110 §5.5)."""
    value = secret.reveal()
    if _CONTROL.search(value):
        raise InvalidValue(f"The value{_source(secret)} holds a line break or another control character.", "Remove it.")
    if value != value.strip(" \t"):
        raise InvalidValue(f"The value{_source(secret)} begins or ends with a space.", "Remove it.")
    return _plain(secret)


def key(secret: Secret) -> Secret:
    """Check a client key: visible ASCII, which a header can carry, or `sha256:` and 64 hexadecimal digits."""
    value = secret.reveal()
    if value.startswith("sha256:"):
        if not re.fullmatch(r"sha256:[0-9A-Fa-f]{64}", value, re.ASCII):
            raise InvalidValue("After 'sha256:' come 64 hexadecimal digits.", "Make one with: printf %s KEY | sha256sum")
        return secret
    if not value or re.search(r"[\x00-\x20\x7f]", value):
        what = f"The key{_source(secret)} is empty, or holds a space or a control character."
        raise InvalidValue(what, "Write the bare key, without 'Bearer'.")
    return _plain(secret)


def _plain(secret: Secret) -> Secret:
    """Refuse characters that a header carries in no agreed encoding: nearly always the rest of an example."""
    if _NOT_ASCII.search(secret.reveal()):
        what = f"The value{_source(secret)} holds characters outside ASCII, which no header carries reliably."
        raise InvalidValue(what, "Write the real value: is it still an example's, such as '…'?")
    return secret


def _source(secret: Secret) -> str:
    """Return the variables that a value came from, as part of a sentence."""
    return "" if secret.shown == "***" else f" (from {secret.shown})"


def digest(secret: Secret) -> bytes:
    """Return the SHA-256 (32 bytes) of a checked key."""
    value = secret.reveal()
    return bytes.fromhex(value.removeprefix("sha256:")) if value.startswith("sha256:") else secret.digest()


def query_pair(name: str, value: str) -> bytes:
    """Return `name=value`, percent-encoded."""
    return f"{quote(name, safe='', errors='surrogateescape')}={quote(value, safe='', errors='surrogateescape')}".encode("ascii")
