"""Configurations that are refused: each rule with its line, its key and its words; everything at once; never a secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme

from passthrough.config import load
from passthrough.errors import ConfigError, Problem
from tests.harness.configs import KEYED, KEYS, loaded, problems, written

A = "pass_through_endpoints:\n- path: /a\n  target: http://a.example\n"  # what follows is on line 4
K = "0123456789abcdef"

Row = tuple[str | bytes, int, str, str]

FILES: list[Row] = [
    ("", 0, "", "empty"),
    ("# nothing\n", 0, "", "empty"),
    ("---\n...\n", 0, "", "empty"),
    ("- a\n", 1, "", "must be a mapping"),
    ("text", 1, "", "must be a mapping"),
    ("a: [1\nb: 2\n", 2, "", "not YAML"),
    ("a:\n\t- b\n", 2, "", "This line is indented with a tab"),
    ("a:\r\n  b: 1\r\n  \tc: 2\r\n", 3, "", "This line is indented with a tab"),
    ("a: 'b\n", 2, "", "not YAML"),
    (b"a: 1\n\nb: \xff\n", 3, "", "not UTF-8"),
    ("a: 1\nb: \x07\n", 2, "", "not allowed in YAML"),
    ("a: *b\n", 1, "", "no anchor"),
    ("a: &a [*a]\n", 1, "", "no anchor"),
    ("a: 1\n---\nb: 2\n", 2, "", "more than one"),
    ("? [a]\n: b\n", 1, "", "plain text"),
    ("a: " + "[" * 60 + "]" * 60 + "\n", 1, "", "nested too deeply"),
    ("a: " + "[" * 100_000, 1, "", "nested too deeply"),
    ("l0: &l0 [x, x]\n" + "".join(f"l{i}: &l{i} [*l{i - 1}, *l{i - 1}]\n" for i in range(1, 30)), 20, "", "too many values"),
    ("l0: &l0 [x]\n" + "".join(f"l{i}: &l{i} [*l{i - 1}]\n" for i in range(1, 200)), 50, "", "too many values"),
    ("a: 1\n" * 2_500_000, 0, "", "larger than 10 MB"),
    (A + "  path: /b\n", 4, "pass_through_endpoints[0].path", "given twice; the first is on line 2"),
    (A + "ledger: none\nledger: none\n", 5, "ledger", "given twice"),
    (A + "master_key: !secret x\n", 4, "master_key", "tags"),
    (A + "  <<: [x]\n", 4, "pass_through_endpoints[0].<<", "Only mappings"),
]  # fmt: skip

KEYS_OF_THE_FILE: list[Row] = [
    ("ledger: none\n", 1, "", "There is no route"),
    ("pass_through_endpoints: []\n", 1, "", "There is no route"),
    ("litellm_settings: {}\nmodel_list: []\n", 2, "model_list", "no entry for OCR"),
    ("pass_through_endpoints:\nmodel_list:\n- model_name: x\n", 2, "model_list", "no entry for OCR"),
    ("pass_through_endpoints: {path: /a}\n", 1, "pass_through_endpoints", "A list is expected"),
    ("pass_through_endpoints: text\n", 1, "pass_through_endpoints", "A list is expected"),
    ("pass_through_endpoints: [text]\n", 1, "pass_through_endpoints[0]", "A mapping"),
    ("pass_through_endpoints:\n-\n", 2, "pass_through_endpoints[0]", "no value"),
    (A + "pass_thru_endpoints: []\n", 4, "pass_thru_endpoints", "Did you mean 'pass_through_endpoints'?"),
    (A + "client_key: []\n", 4, "client_key", "Did you mean 'client_keys'?"),
    (A + "zzz: 1\n", 4, "zzz", "no such key"),
    (A + "min_upload_rate: 1KB\n", 4, "min_upload_rate", "Move it to the routes"),
    (A + "max_body: 1GB\n", 4, "max_body", "belongs to a route"),
    (A + "litellm_key_header_name: x\n", 4, "litellm_key_header_name", "Move it under general_settings"),
    (A + "general_settings: {client_keys: []}\n", 4, "general_settings.client_keys", "at the top of the file"),
    (A + "general_settings: text\n", 4, "general_settings", "A mapping"),
    (A + "general_settings: {litellm_key_header_name: a b}\n", 4, "general_settings.litellm_key_header_name", "HTTP allows"),
    (A + "general_settings: {pass_through_request_timeout: 0}\n", 4,
     "general_settings.pass_through_request_timeout", "more than 0"),
    (A + f"master_key: {K}\ngeneral_settings: {{master_key: {K}}}\n", 4, "master_key", "given twice"),
    (A + "ledger: passthrough.db\n", 4, "ledger", "not a ledger"),
    (A + "ledger: mysql://h/db\n", 4, "ledger", "not served"),
    (A + "ledger: sqlite://\n", 4, "ledger", "does not name a file"),
    (A + "ledger: 'sqlite:///:memory:'\n", 4, "ledger", "does not name a file"),
    (A + "ledger:\n", 4, "ledger", "no value"),
    (A + "ledger_keep: 400\n", 4, "ledger_keep", "whole days"),
    (A + "ledger_keep: 36h\n", 4, "ledger_keep", "whole days"),
    (A + "ledger_keep: ever\n", 4, "ledger_keep", "not a number of days"),
    (A + "journal: empty.pem\n", 4, "journal empty.pem", "This is a file"),
    (A + 'journal: "a\\0b"\n', 4, "journal", "not the name of a file"),
    (A + "budget: {pages: 1}\n", 4, "budget.per", "missing"),
    (A + "budget:\n- {per: day}\n", 5, "budget[0]", "in pages or in usd"),
    (A + "budget:\n- {usd: 5, per: day}\n- {usd: 6, per: day}\n", 6, "budget[1]",
     "a budget in usd per day already, on line 5"),
    (A + "budget: 5\n", 4, "budget", "A mapping"),
    (A + "rpm: 0\n", 4, "rpm", "positive whole"),
    (A + "max_budget: 5\n", 4, "max_budget", "no such key"),
    (A + "budget_periods: {time_zone: Europe/Berlni}\n", 4, "budget_periods.time_zone", "Did you mean 'Europe/Berlin'?"),
    (A + "budget_periods: {time_zone: Europe}\n", 4, "budget_periods.time_zone", "not a time zone"),
    (A + "budget_periods: {time_zone: ../UTC}\n", 4, "budget_periods.time_zone", "not a time zone"),
    (A + "budget_periods: {time_zone: ''}\n", 4, "budget_periods.time_zone", "not a time zone"),
    (A + "budget_periods: {day_starts: 24:00}\n", 4, "budget_periods.day_starts", "not a time of day"),
    (A + "budget_periods: {day_starts: 6}\n", 4, "budget_periods.day_starts", "not a time of day"),
    (A + "budget_periods: {week_starts: mon}\n", 4, "budget_periods.week_starts", "Did you mean 'monday'?"),
    (A + "budget_periods: {month_starts: 32}\n", 4, "budget_periods.month_starts", "not a day of a month"),
    (A + "budget_periods: {month_starts: 0}\n", 4, "budget_periods.month_starts", "not a day of a month"),
    (A + "budget_periods: {zone: UTC}\n", 4, "budget_periods.zone", "Did you mean 'time_zone'?"),
    (A + "budget_webhook: https://https://hooks.example\n", 4, "budget_webhook", "The webhook has its scheme twice."),
    (A + "budget_webhook: hooks.example\n", 4, "budget_webhook", "The webhook is not a URL"),
    (A + "budget_webhook: os.environ/UNSET\n", 4, "budget_webhook", "UNSET is not set."),
    (A + "on_ledger_down: deny\n", 4, "on_ledger_down", "One of allow, refuse"),
    (A + "label_headers: x-user\n", 4, "label_headers", "A list is expected"),
    (A + "label_headers: [a b]\n", 4, "label_headers[0]", "HTTP allows"),
    (A + "label_headers: [{name: Authorization}]\n", 4, "label_headers[0].name", "carries credentials"),
    (A + "label_headers: [{forward: true}]\n", 4, "label_headers[0].name", "missing"),
    (A + "label_headers: [{nam: x-a, name: x-b}]\n", 4, "label_headers[0].nam", "Did you mean 'name'?"),
    (A + "ledger_keep: none\nlabel_headers: [[x]]\n", 5, "label_headers[0]", "A mapping"),
    (A + "label_headers: [x-a,\n X-A]\n", 5, "label_headers[1]", "given twice"),
    (A + "label_headers: [x-a,\n {name: X-A, as: team}]\n", 5, "label_headers[1]", "given twice"),
    (A + "label_headers: [{name: x-a, as: Team}]\n", 4, "label_headers[0].as", "1 to 40 of a-z, 0-9, '-' and '_', in lower case"),
    (A + "label_headers: [{name: x-a, as: ''}]\n", 4, "label_headers[0].as", "cannot be a label's name"),
    (A + f"label_headers: [{{name: x-a, as: {'a' * 41}}}]\n", 4, "label_headers[0].as", "cannot be a label's name"),
    (A + "label_headers: [{name: x-a, as: label.team}]\n", 4, "label_headers[0].as", "cannot be a label's name"),
    (A + "label_headers: [{name: x-a, fills: team}]\n", 4, "label_headers[0].fills", "Known here: as, forward, name."),
    (A + "label_headers: [{name: x-a, a: team}]\n", 4, "label_headers[0].a", "Did you mean 'as'?"),
    (A + "allow_anonymous: maybe\n", 4, "allow_anonymous", "true or false"),
    (A + "cors: '*'\n", 4, "cors", "would let the pages of every site in"),
    (A + "cors: [https://a.example, 'null']\n", 4, "cors[1]", "would let the pages of every site in"),
    (A + "cors:\n- https://a.example\n- https://*.b.example\n", 6, "cors[1]", "each origin is named by itself"),
    (A + "cors: a.example\n", 4, "cors", "The origin is not a URL"),
    (A + "cors: //a.example\n", 4, "cors", "The origin is not a URL"),
    (A + "cors: https://a.example/\n", 4, "cors", "not even a '/' at its end"),
    (A + "cors: https://a.example/app?x\n", 4, "cors", "no path and no query"),
    (A + "cors: 'https://a.example#x'\n", 4, "cors", "fragment"),
    (A + "cors: https://user@a.example\n", 4, "cors", "no user or password"),
    (A + "cors: https://\n", 4, "cors", "no host"),
    (A + "cors: file://\n", 4, "cors", "no host"),
    (A + "cors: https://a.example:99999\n", 4, "cors", "The port is not one"),
    (A + "cors: 'https://a.example, https://b.example'\n", 4, "cors", "a space"),
    (A + "cors: {origin: https://a.example}\n", 4, "cors", "A single value is expected"),
    (A + "cors:\n", 4, "cors", "no value"),
    (A + "host: 0.0.0.0\n", 4, "host", "Without client_keys"),
    (A + "listen_host: '::'\n", 4, "listen_host", "Without client_keys"),
    (A + "  auth: false\nhost: example.com\n", 5, "host", "Without client_keys"),
    (A + "host: a b\n", 4, "host", "DNS"),
    (A + "port: 65536\n", 4, "port", "not a port"),
    (A + "port: -1\n", 4, "port", "not a port"),
    (A + "port: 5000\nlisten_port: 5001\n", 5, "listen_port", "given twice"),
    (A + "port: 4001\n", 4, "port", "cannot both listen"),
    (A + "admin_port: 4000\n", 4, "admin_port", "cannot both listen"),
    (A + "workers: 257\n", 4, "workers", "More than 256 workers are not served."),
    (A + "drain_timeout: 0\n", 4, "drain_timeout", "more than 0"),
    (A + "log_format: xml\n", 4, "log_format", "auto, json, text"),
    (A + "log_level: warn\n", 4, "log_level", "Did you mean 'warning'?"),
    (A + "log_level: critical\n", 4, "log_level", "One of debug, info, warning, error is expected"),
    (A + "max_connections: 0\n", 4, "max_connections", "positive whole number"),
    (A + "client_keep_alive: 0s\n", 4, "client_keep_alive", "more than 0"),
    (A + "upstream_keep_alive: none\n", 4, "upstream_keep_alive", ""),
    (A + "max_connections: many\n", 4, "max_connections", "positive whole number"),
    (A + "tls_cert: c.pem\n", 4, "tls_cert", "of no use without tls_key"),
    (A + "tls_key: k.pem\n", 4, "tls_key", "of no use without tls_cert"),
    (A + "tls_cert: no.pem\ntls_key: empty.pem\n", 4, "tls_cert no.pem", "no such file"),
    (A + "tls_cert: empty.pem\ntls_key: empty.pem\n", 4, "tls_cert",
     "The certificate empty.pem and the key empty.pem cannot be loaded"),
    (A + "tls_cert: empty.pem\ntls_key: '-----BEGIN PRIVATE KEY-----'\n", 5, "tls_key", "what stands in one"),
]  # fmt: skip

ENDPOINTS = [
    ("path", "a", "begin with '/'"),
    ("path", "/a?b", "no '?'"),
    ("path", "'/a#b'", "no '?' and no '#'"),
    ("path", "/a/../b", "dot segments"),
    ("path", "/a/%2E%2e/b", "dot segments"),
    ("path", "/./b", "dot segments"),
    ("path", "/ä", "percent-encoded"),
    ("path", "/a%zz", "percent-encoded"),
    ("path", "/a b", "percent-encoded"),
    ("path", "/a/{id}", "placeholders"),
    ("path", "/a/*", "placeholders"),
    ("path", "{b: c}", "A single value"),
    ("path", "os.environ/UNSET", "UNSET is not set."),
    ("target", "api.mistral.ai", "not a URL"),
    ("target", "/v1/ocr", "not a URL"),
    ("target", "ftp://a.example", "http:// or https://"),
    ("target", "https://", "no host"),
    ("target", "https://:80", "no host"),
    ("target", "https:///a.example", "no host"),
    ("target", "https:/a.example", "not a URL"),
    ("target", "https//a.example", "not a URL"),
    ("target", "//a.example", "not a URL"),
    ("target", "https://https://a.example", "The target has its scheme twice."),
    ("target", "https://http://a.example", "scheme twice"),
    ("target", "http://https:/a.example", "scheme twice"),
    ("target", "https://https//a.example", "scheme twice"),
    ("target", "HTTPS://HTTPS://A.example", "scheme twice"),
    ("target", "https://os.environ/ENDPOINT/v1", "'os.environ/NAME' alone"),
    ("proxy", "http://http://proxy.example:3128", "The proxy has its scheme twice."),
    ("target", "https://u:p@a.example", "no user"),
    ("target", "https://a.example/#x", "fragment"),
    ("target", "'https://a.example/#'", "fragment"),
    ("target", "https://a.example:0", "port"),
    ("target", "https://a.example:65536", "port"),
    ("target", "https://a.example:x", "no host"),
    ("target", "https://[::1", "no host"),
    ("target", "https://[::g]", "IPv6"),
    ("target", "https://[a.example]", "IPv6"),
    ("target", "http://[fe80::1%25]:80", "zone"),
    ("target", "http://[fe80::1%25a%25b]:80", "zone"),
    ("target", "http://[fe80::1%a/b]:80", ""),
    ("target", "https://1.2.3", "IPv4"),
    ("target", "https://1.2.3.256", "IPv4"),
    ("target", "https://a..example", "DNS"),
    ("target", "https://-a.example", "DNS"),
    ("target", "https://a_b!.example", "DNS"),
    ("target", f"https://{'a' * 64}.example", "DNS"),
    ("target", "https://xn--ä.example", "DNS"),
    ("target", "https://a.example/a/../b", "dot segments"),
    ("target", "https://a.example/ä", "percent-encoded"),
    ("target", "'https://a.example/a b'", "a space"),
    ("target", '"https://a.example/\\r\\nX: y"', "control character"),
    ("target", "https://a.example/?q=ä", "query"),
    ("target", "https://{region}.example", "DNS"),
    ("target", "http://127.0.0.1:4000", "this proxy itself"),
    ("target", "https://localhost:4000/v1", "this proxy itself"),
    ("target", "http://127.9.9.9:4001", "this proxy itself"),
    ("target", "http://[::1]:4000", "this proxy itself"),
    ("target", "http://[::ffff:127.0.0.1]:4000", "this proxy itself"),
    ("target", "http://0.0.0.0:4000", "this proxy itself"),
    ("target", "", "no value"),
    ("target", "os.environ/UNSET/v1", "remove this route"),
    ("headers", "{a b: c}", "HTTP allows"),
    ("headers", "{'': c}", "HTTP allows"),
    ("headers", "{Host: c}", "by itself"),
    ("headers", "{content-LENGTH: 1}", "by itself"),
    ("headers", "{Transfer-Encoding: chunked}", "by itself"),
    ("headers", "{Connection: close}", "by itself"),
    ("headers", "{TE: trailers}", "by itself"),
    ("headers", "{Proxy-Authorization: x}", "into 'proxy'"),
    ("headers", "{x-a: }", "no value"),
    ("headers", "{x-a: [1]}", "A single value"),
    ("headers", '{x-a: "b\\r\\nc: d"}', "control character"),
    ("headers", '{x-a: "b\\0"}', "control character"),
    ("headers", "{x-a: ' b'}", "begins or ends"),
    ("headers", "{x-a: 1, X-A: 2}", "given twice"),
    ("headers", "{x-a: os.environ/UNSET}", "remove this header"),
    ("headers", "{x-a: os.environ/EMPTY}", "EMPTY is set, but empty."),
    ("headers", "{x-a: os.environ/}", "followed by no name"),
    ("headers", "{x-a: os.environ/BROKEN}", "control character"),
    ("headers", "{x-a: os.environ/BROKEN}", "(from BROKEN)"),
    ("headers", "{x-a: os.environ/SURROGATE}", "(from SURROGATE) holds characters outside ASCII"),
    ("headers", "{x-a: Bearer os.environ/README}", "(from README) holds characters outside ASCII"),
    ("headers", "{x-a: Bearer …}", "The value holds characters outside ASCII"),
    ("headers", "{x-a: bücher}", "outside ASCII"),
    ("headers", '{x-a: "\\u00a0b"}', "outside ASCII"),
    ("headers", "{litellm_user_api_key: a b}", "HTTP allows"),
    ("headers", "{litellm_user_api_key: Host}", "by itself"),
    ("headers", "[x]", "A mapping"),
    ("methods", "[]", "without any method"),
    ("methods", "GET", "A list is expected"),
    ("methods", "[GET, 'A B']", "HTTP allows"),
    ("max_body", "1XB", "not a size"),
    ("min_upload_rate", "slow", "not a size"),
    ("max_body", "0", "positive"),
    ("max_body", "-1", "not a size"),
    ("max_body", "1.0000000001GB", "not a size"),
    ("max_body", "0.3B", "whole"),
    ("timeout", "0", "more than 0"),
    ("timeout", "-5", "not a duration"),
    ("timeout", "soon", "not a duration"),
    ("timeout", "5 weeks", "not a duration"),
    ("timeout", "9999999d", "at most a century"),
    ("timeouts", "{connect: 0s}", "more than 0"),
    ("timeouts", "{idle: none}", "not a duration"),
    ("timeouts", "{reed: 5}", "Known here: connect, header, idle, total"),
    ("timeouts", "30s", "A mapping"),
    ("auth", "perhaps", "true or false"),
    ("forward_credentials", "true", "auth: false"),
    ("cost_per_request", "-1", "negative"),
    ("cost_per_request", "0.0000000001", "nine decimals"),
    ("cost_per_request", "free", "not an amount"),
    ("cost_per_request", "nan", "not an amount"),
    ("cost_per_request", "1e99", "million"),
    ("cost_per_request", "1e-99", "nine decimals"),
    ("client_gone", "wait", "settle, cancel"),
    ("meter", "ocrr", "Did you mean 'ocr'?"),
    ("meter", "pages", "One of auto, ocr, chat, batch, json, none"),
    ("meter", "json", "This meter counts nothing"),
    ("meter", "{shape: json}", "This meter counts nothing"),
    ("meter", "{shape: json, when: {status: ok}}", "This meter counts nothing"),
    ("meter", "{shape: json, pages: a, constant: 1}", "counted by 'pages' already"),
    ("meter", "{shape: json, pages: a, count: b}", "counted by 'pages' already"),
    ("meter", "{shape: json, constant: 0}", "positive whole"),
    ("meter", "{pages: usage.pages}", "Add 'shape: json'"),
    ("meter", "{shape: ocr, credits: usage.credits}", "Add 'shape: json'"),
    ("meter", "{shape: json, pages: 'pages[0].n'}", "Write [] for every item"),
    ("meter", "{shape: json, pages: 'pages[*].n'}", "Write [] for every item"),
    ("meter", "{shape: json, pages: $.pages}", "not a path"),
    ("meter", "{shape: json, pages: a..b}", "not a path"),
    ("meter", "{shape: json, pages: .a}", "not a path"),
    ("meter", "{shape: json, pages: a.}", "not a path"),
    ("meter", "{shape: json, pages: 'a[b'}", "not a path"),
    ("meter", "{shape: json, pages: ''}", "not a path"),
    ("meter", "{shape: json, pages: [a, '[]b']}", "not a path"),
    ("meter", "{shape: json, pages: {a: b}}", "A single value"),
    ("meter", "{shape: json, count: 'document.pages[]'}", "Remove the []"),
    ("meter", "{shape: json, constant: 1, when: {a..b: c}}", "not a path"),
    ("meter", "{shape: json, constant: 1, when: status}", "A mapping"),
    ("meter", "{shape: json, constant: 1, model_path: 'a['}", "not a path"),
    ("meter", "{shape: json, count: '[][]'}", "Remove the []"),
    ("meter", "{shape: json, pages: a, max: b}", "counted by 'pages' already"),
    ("meter", "{shape: json, max: a, distinct: b}", "counted by 'max' already"),
    ("meter", "{shape: json, header: x-pages, constant: 1}", "counted by 'header' already"),
    ("meter", "{shape: json, max: 'pages[0]'}", "Write [] for every item"),
    ("meter", "{shape: json, distinct: a..b}", "not a path"),
    ("meter", "{shape: json, header: 'x pages'}", "not a name that HTTP allows"),
    ("meter", "{shape: chat, header: x-pages}", "Add 'shape: json'"),
    ("meter", "{shape: ocr, once: job.id}", "Add 'shape: json'"),
    ("meter", "{max: page}", "Add 'shape: json'"),
    ("meter", "{shape: json, tokens_out: o, tokens_cached: c}", "Add 'tokens_in'"),
    ("meter", "{shape: json, tokens_in: $.a}", "not a path"),
    ("meter", "{shape: json, credits: c, credits_header: x-c}", "counted by 'credits' already"),
    ("meter", "{shape: json, credits_header: 'x c'}", "not a name that HTTP allows"),
    ("meter", "{shape: auto, credits_header: x-c}", "Add 'shape: json'"),
    ("meter", "{shape: json, pages: a, unless: 'b[0]'}", "Write [] for every item"),
    ("meter", "{shape: json, once: job.id}", "counts nothing"),
    ("meter", "{shape: json, pages: a, once: 'jobs[].id'}", "one value, not one for each item"),
    ("meter", "{shape: json, pages: a, once: ''}", "not a path"),
    ("meter", "{shape: json, pages: a, once: 'job/{}/'}", "begins with '/'"),
    ("meter", "{shape: json, pages: a, once: /job/}", "No segment"),
    ("meter", "{shape: json, pages: a, once: '/job/{id}/'}", "No segment"),
    ("meter", "{shape: json, pages: a, once: '/job/{}/{id}'}", "whole segment"),
    ("meter", "{shape: json, pages: a, once: '/job/{}.json/{}'}", "whole segment"),
    ("meter", "{shape: json, pages: a, once: '/jöb/{}'}", "no URL's path has"),
    ("meter", "{shape: json, pages: a, once: '/job/{}?a=b'}", "no '?' and no '#'"),
    ("meter", "{shape: json, pages: a, lines: sure}", "true or false is expected"),
    ("meter", "{shape: json, pages: a, methods: [GET, HEAD]}", "HEAD counts nothing"),
    ("meter", "{shape: json, pages: a, methods: ['G T']}", "not a name that HTTP allows"),
    ("meter", "{shape: json, pages: a, methods: []}", "No method is left"),
    ("meter", "{shape: json, pages: a, when: {status: []}}", "nothing would be counted"),
    ("meter", "{shape: json, pages: a, when: {status: [{a: b}]}}", "A single value"),
    ("meter", "{cost_header: a b}", "HTTP allows"),
    ("meter", "{account: ''}", "not a name"),
    ("budget", "{pages: 5}", "missing"),
    ("budget", "{pages: 5, usd: 1, per: day}", "in pages or in usd"),
    ("budget", "[{pages: 5, per: day}, {pages: 6, per: day}]", "a budget in pages per day already, on line 4"),
    ("budget", "{pages: 5, per: day, unpriced: refuse}", "budget.unpriced: A budget in pages has nothing to do with prices"),
    ("budget", "{pages: 5, per: day, unpriced: allow}", "nothing to do with prices"),
    ("budget", "{usd: 5, per: day, unpriced: true}", "One of allow, refuse"),
    ("budget", "{usd: 0, per: day}", "more than 0"),
    ("budget", "{usd: -1, per: day}", "more than 0"),
    ("budget", "{usd: 1e10, per: day}", "at most a thousand million"),
    ("budget", "{usd: 0.00000000001, per: day}", "nine decimals"),
    ("budget", "{pages: 5, per: day, warn_at: 80 percent}", "must be a share"),
    ("budget", "{pages: 5, per: day, warn_at: 0}", "must be a share"),
    ("budget", "{pages: 5, per: day, warn_at: 101%}", "must be a share"),
    ("budget", "{pages: 5, per: day, warn_at: 80}", "must be a share"),
    ("budget", "{pages: 5, per: minute}", "day, week, month"),
    ("max_parallel", "0", "positive whole"),
    ("rpm_limit", "5", "Did you mean 'rpm'?"),
    ("prices", "{model: m}", "A list is expected"),
    ("prices", "[{model: m}]", "no price"),
    ("prices", "[{model: m, usd_per_credit: x}]", "not an amount"),
    ("prices", "[{model: m, usd_per_credit: 1}, {model: m, usd_per_credit: 2}]", "another price from the same day"),
    ("prices", "[{model: m, service_tier: p, usd_per_credit: 1}, {model: m, service_tier: p, usd_per_credit: 2}]",
     "another price for the tier p from the same day"),
    ("prices", "[{model: m, service_tier: priority}]", "no price"),
    ("prices", "[{model: m, usd_per_million_cached_input_tokens: -1}]", "negative"),
    ("meter", "{price_list: openai}", "One of mistral, azure, vertex, none"),
    ("meter", "{shap: ocr}", "Did you mean 'shape'?"),
    ("meter", "{model: ''}", "not a name"),
    ("meter", "[ocr]", "A mapping"),
    ("upstream_tls", "{}", "missing"),
    ("upstream_tls", "{ca_file: no.pem}", "upstream_tls.ca_file no.pem: There is no such file."),
    ("upstream_tls", "{ca_file: os.environ/README}", "upstream_tls.ca_file (from README): There is no such file."),
    ("upstream_tls", "{ca_file: empty.pem}", "no certificate"),
    ("upstream_tls", "{ca_file: .}", "no such file"),
    ("upstream_tls", '{ca_file: "a\\0b"}', "not the name of a file"),
    ("proxy", "https://proxy.example", "Only http://"),
    ("proxy", "socks5://proxy.example", "Only http://"),
    ("proxy", "proxy.example:3128", "not a URL"),
    ("proxy", "http://proxy.example/x", "no path"),
    ("proxy", "os.environ/UNSET", "UNSET is not set."),
    ("default_query_params", "{k: [1]}", "A single value"),
    ("label_headers", "[cookie]", "carries credentials"),
    ("label_headers", "[x-a, x-a]", "given twice"),
    ("label_headers", "[{name: x-a, as: the team}]", "cannot be a label's name"),
    ("forward_header", "true", "Did you mean 'forward_headers'?"),
    ("retries", "11", "from 0 to 10"),
    ("retries", "-1", "from 0 to 10"),
    ("retries", "1.5", "from 0 to 10"),
    ("retries", "true", "from 0 to 10"),
    ("retries", "[2]", "A mapping"),
    ("retries", "{}", "missing"),
    ("retries", "{statuses: [429]}", "missing"),
    ("retries", "{attempt: 2, attempts: 2}", "Did you mean 'attempts'?"),
    ("retries", "{attempts: 2, statuses: [429, 404]}", "Only after 408, 425, 429 and 500 to 599"),
    ("retries", "{attempts: 2, statuses: [600]}", "Only after 408, 425, 429 and 500 to 599"),
    ("retries", "{attempts: 2, statuses: [5xx]}", "Only after 408, 425, 429 and 500 to 599"),
    ("retries", "{attempts: 2, statuses: 429}", "A list is expected"),
    ("retries", "{attempts: 2, held_body: 0}", "positive"),
    ("retries", "{attempts: 2, spool: maybe}", "true or false"),
    ("retries", "{attempts: 2, max_wait: none}", "not a duration"),
    ("transforms", "[]", "no such key"),
]  # fmt: skip

CLIENTS = [
    ("{name: a}", "key", "missing"),
    (f"{{key: {K}}}", "name", "missing"),
    (f"{{name: '', key: {K}}}", "name", "not a name"),
    (f"{{name: ' a', key: {K}}}", "name", "not a name"),
    (f"{{name: master, key: {K}}}", "name", "master key are booked as"),
    ("{name: a, key: 'sha256:abc'}", "key", "64 hexadecimal"),
    (f"{{name: a, key: 'sha256:{'g' * 64}'}}", "key", "64 hexadecimal"),
    (f"{{name: a, key: Bearer {K}}}", "key", "without 'Bearer'"),
    ("{name: a, key: }", "key", "no value"),
    ("{name: a, key: ''}", "key", "is empty"),
    ("{name: a, key: os.environ/README}", "key", "(from README) holds characters outside ASCII"),
    (f"{{name: a, key: {K}…}}", "key", "outside ASCII"),
    ("{name: a, key: os.environ/UNSET}", "key", "remove this client key"),
    (f"{{name: a, key: {K}, routes: [/b]}}", "routes[0]", "no route with this path"),
    (f"{{name: a, key: {K}, routes: [/a/]}}", "routes[0]", "Did you mean '/a'?"),
    (f"{{name: a, key: {K}, routes: []}}", "routes", "may do nothing"),
    (f"{{name: a, key: {K}, routes: }}", "routes", "no value"),
    (f"{{name: a, key: {K}, routes: /a}}", "routes", "A list is expected"),
    (f"{{name: a, key: {K}, budget: {{pages: 1}}}}", "budget.per", "missing"),
    (f"{{name: a, key: {K}, budget: {{pages: 1, per: year}}}}", "budget.per", "day, week, month"),
    (f"{{name: a, key: {K}, budget: {{pages: 0, per: day}}}}", "budget.pages", "positive"),
    (f"{{name: a, key: {K}, budget: {{per: day}}}}", "budget", "in pages or in usd"),
    (f"{{name: a, key: {K}, budget: [{{usd: 1, per: day}}, {{usd: 1, per: week}}, {{usd: 9, per: day}}]}}", "budget[2]",
     "a budget in usd per day already"),
    (f"{{name: a, key: {K}, max_budget: 5}}", "max_budget", "Did you mean 'budget'?"),
    (f"{{name: a, key: {K}, max_parallel_requests: 5}}", "max_parallel_requests", "Did you mean 'max_parallel'?"),
    (f"{{name: a, key: {K}, budget: [{{usd: 1, per: day}}, {{usd: 1, pages: 1, per: day}}]}}", "budget[1]", "in pages or in usd"),
    (f"{{name: a, key: {K}, budget: [{{page: 1, usd: 1, per: day}}]}}", "budget[0].page", "Did you mean 'pages'?"),
    (f"{{name: a, key: {K}, rpm: 1.5}}", "rpm", "positive whole"),
    (f"{{name: a, key: {K}, max_parallel: 0}}", "max_parallel", "positive whole"),
    (f"{{name: a, key: {K}, max_paralel: 1}}", "max_paralel", "Did you mean 'max_parallel'?"),
]  # fmt: skip

PRICES = [
    ("{usd_per_1000_pages: 1}", "model", "missing"),
    ("{model: m}", "", "no price"),
    ("{model: m, usd_per_1000_pages: -1}", "usd_per_1000_pages", "negative"),
    ("{model: m, usd_per_1000_page: 1}", "usd_per_1000_page", "Did you mean 'usd_per_1000_pages'?"),
    ("{model: m, usd_per_1000_pages: 1, batch_factor: 2}", "batch_factor", "from 0 to 1"),
    ("{model: m, usd_per_1000_pages: 1, effective_from: 2026-13-01}", "effective_from", "not a date"),
]


def _expect(expected: tuple[int, str, str], found: tuple[Problem, ...]) -> None:
    line, key, words = expected
    assert [] == [problem for problem in found if not problem.hint]
    assert [(line, key)] == [(problem.line, problem.key) for problem in found if words in str(problem)]


ENVIRON = {**KEYS, "EMPTY": "", "BROKEN": "a\nb", "SURROGATE": "\ud800", "README": "…", "ENDPOINT": "https://a.example"}


@pytest.mark.parametrize(("text", "line", "key", "words"), FILES + KEYS_OF_THE_FILE)
def test_files(tmp_path: Path, text: str | bytes, line: int, key: str, words: str) -> None:
    """A file, or a key of its top, that cannot be used is reported with its line."""
    written(tmp_path, "", "empty.pem")
    _expect((line, key, words), problems(tmp_path, text))


@pytest.mark.parametrize(("key", "value", "words"), ENDPOINTS)
def test_endpoints(tmp_path: Path, key: str, value: str, words: str) -> None:
    """A key of an endpoint that cannot be used is reported with its line; nothing else is found wrong."""
    written(tmp_path, "", "empty.pem")
    endpoint = {"path": "/a", "target": "http://a.example", key: value}
    lines = [f"{name}: {text}" for name, text in endpoint.items()]
    found = problems(tmp_path, "pass_through_endpoints:\n- " + "\n  ".join(lines) + "\n", ENVIRON)
    assert [list(endpoint).index(key) + 2] == [problem.line for problem in found]
    assert found[0].key.startswith(f"pass_through_endpoints[0].{key}")
    assert words in str(found[0])
    assert found[0].hint


@pytest.mark.parametrize(
    ("section", "item", "key", "words"),
    [("client_keys", *row) for row in CLIENTS] + [("prices", *row) for row in PRICES],
)
def test_items_of_sections(tmp_path: Path, section: str, item: str, key: str, words: str) -> None:
    """A client key or a price that cannot be used is reported with its line; nothing else is found wrong."""
    found = problems(tmp_path, A + f"{section}:\n- {item}\n", ENVIRON)
    assert [(5, f"{section}[0].{key}".rstrip("."))] == [(problem.line, problem.key) for problem in found]
    assert words in str(found[0])
    assert found[0].hint


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        ("path: /b", "path: /b", True),
        ("path: /b, methods: [GET]", "path: /b", True),
        ("path: /b", "path: /b, methods: [GET]", True),
        ("path: /b, methods: [GET, POST]", "path: /b, methods: [PUT, post]", True),
        ("path: /b, include_subpath: true", "path: /b", True),
        ("path: /b, include_subpath: true", "path: /b/, include_subpath: true", True),
        ("path: /b, methods: [GET]", "path: /b, methods: [POST]", False),
        ("path: /b, methods: [GET, get]", "path: /c", False),
        ("path: /b", "path: /b/", False),
        ("path: /b, include_subpath: true", "path: /b/c", False),
        ("path: /, include_subpath: true", "path: /b", False),
    ],
)
def test_conflicts(tmp_path: Path, first: str, second: str, conflict: bool) -> None:
    """Two routes for one method and path are a conflict, reported at the second with the line of the first."""
    text = A + f"- {{{first}, target: 'http://a.example'}}\n- {{{second}, target: 'http://a.example'}}\n"
    expected = [(5, "pass_through_endpoints[2].path", "on line 4")] if conflict else []
    assert expected == [(p.line, p.key, "on line 4" if "on line 4" in p.what else p.what) for p in problems(tmp_path, text)]


def test_names_and_keys_of_clients_are_unique(tmp_path: Path) -> None:
    """A second key of one name, and one key for two names (the master key, too), are reported at their places."""
    text = f"""\
client_keys:
- {{name: a, key: {K}}}
- {{name: a, key: other-{K}}}
- {{name: b, key: os.environ/K}}
- {{name: c, key: os.environ/U}}
- {{name: d, key: os.environ/U}}
master_key: {K}
"""
    found = problems(tmp_path, A + text, {"K": K})
    assert [
        (6, "client_keys[1].name", "'a' is the name of two keys; the first is on line 5."),
        (7, "client_keys[2].key", "This is the same key as the one on line 5."),
        (8, "client_keys[3].key", "U is not set."),
        (9, "client_keys[4].key", "U is not set."),
        (10, "master_key", "This is the same key as the one on line 5."),
    ] == [(problem.line, problem.key, problem.what) for problem in found]


def test_one_model_has_one_price_a_day(tmp_path: Path) -> None:
    """Two prices of one model from one day on are reported; from another day on it is a change of price."""
    rows = [f"{{model: m, usd_per_1000_pages: {n}, effective_from: 2026-01-0{n}}}" for n in (1, 2, 1)]
    found = problems(tmp_path, A + "prices:\n" + "".join(f"- {row}\n" for row in rows))
    assert [(7, "prices[2].model")] == [(problem.line, problem.key) for problem in found]


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    """One run tells all that is wrong, in the order of the file: form, keys, values, variables, conflicts, ports."""
    text = """\
pass_through_endpoints:
  - path: /a
    target: ftp://a.example
    headers: {Authorization: Bearer os.environ/ONE os.environ/TWO}
  - path: /b
    target: os.environ/THREE/v1
  - path: /b
    path: /c
    target: http://b.example
    timeouts: {connect: never}
    fast: true
client_keys:
  - {name: x, key: os.environ/FOUR, routes: [/a, /b, /zzz]}
ledger: mysql://x
port: 99999
workers: 1
"""
    assert [
        (3, "pass_through_endpoints[0].target"),
        (4, "pass_through_endpoints[0].headers.Authorization"),
        (4, "pass_through_endpoints[0].headers.Authorization"),
        (6, "pass_through_endpoints[1].target"),
        (8, "pass_through_endpoints[2].path"),
        (10, "pass_through_endpoints[2].timeouts.connect"),
        (11, "pass_through_endpoints[2].fast"),
        (13, "client_keys[0].key"),
        (13, "client_keys[0].routes[2]"),
        (14, "ledger"),
        (15, "port"),
    ] == [(problem.line, problem.key) for problem in problems(tmp_path, text, {})]


@pytest.mark.parametrize(
    ("endpoint", "client", "expected"),
    [
        ("{path: /b, target: 'http://b.example'}", "{name: x, routes: [/b, /zzz]}", {"client_keys[0].key", "routes[1]"}),
        ("{path: /b, target: 'http://b.example'}", "{name: ' x', key: a b, routes: [/zz]}", {"name", "key", "routes[0]"}),
        ("{path: /b}", f"{{name: x, key: {K}, routes: [/b, /zzz]}}", {"target", "routes[1]"}),
        ("{path: [b]}", f"{{name: x, key: {K}, routes: [/zzz]}}", {"path", "target", "routes[0]"}),
        ("{target: 'http://b.example'}", f"{{name: x, key: {K}, routes: [/zzz]}}", {"[1].path", "routes[0]"}),
        ("text", f"{{name: x, key: {K}, routes: [os.environ/R, /a]}}", {"endpoints[1]", "routes[0]"}),
        ("{path: os.environ/NO, target: 'http://b.example'}", f"{{name: x, key: {K}, routes: [unset]}}", {"path", "routes[0]"}),
        ("{path: os.environ/R, target: 'http://b.example'}", f"{{name: x, key: {K}, routes: [/r]}}", set()),
    ],
)
def test_routes_of_client_keys_are_judged_whatever_else_is_wrong(
    tmp_path: Path, endpoint: str, client: str, expected: set[str]
) -> None:
    """A client key's route that is none is reported in the same run as what is wrong with that key or with the endpoints."""
    found = problems(tmp_path, A + f"- {endpoint}\nclient_keys:\n- {client}\n", {"R": "/r"})
    assert len(expected) == len(found)
    assert set() == {key for key in expected if not any(problem.key.endswith(key) for problem in found)}


@pytest.mark.parametrize(
    ("methods", "meter", "expected"),
    [
        ("[GET, PUT]", "methods: [GET, POST]", []),
        ("[GET, PUT]", "methods: post", ["methods: The route serves none of these methods."]),
        ("[GET, PUT]", "methods: []", ["methods: No method is left whose responses could count."]),
    ],
)
def test_a_meter_counts_methods_that_its_route_serves(tmp_path: Path, methods: str, meter: str, expected: list[str]) -> None:
    """Else nothing would ever be counted."""
    route = f"{{path: /a, target: 'http://h.example', methods: {methods}, meter: {{shape: json, pages: n, {meter}}}}}"
    found = problems(tmp_path, f"pass_through_endpoints: [{route}]\n")
    assert [f"pass_through_endpoints[0].meter.{what}" for what in expected] == [f"{each.key}: {each.what}" for each in found]


def test_a_problem_as_it_is_shown(tmp_path: Path) -> None:
    """What happened, where, and a hint."""
    (problem,) = problems(tmp_path, KEYED, {})
    expected = (
        f"{tmp_path}/routes.yaml:5 pass_through_endpoints[0].headers.Authorization: MISTRAL_API_KEY is not set.\n"
        "  Write MISTRAL_API_KEY=… into .env, or set it in the environment, or remove this header.\n"
        "  To try it without: 'passthrough serve --sandbox'."
    )
    assert expected == str(problem)


def test_the_keys_of_clients_matter_with_the_sandbox_too(tmp_path: Path) -> None:
    """The sandbox stands in for targets; who may call is still for the keys to say."""
    with pytest.raises(ConfigError, match="K is not set"):
        loaded(tmp_path, A + "client_keys: [{name: a, key: os.environ/K}]\n", {}, sandbox=True)


@pytest.mark.parametrize(
    ("flags", "environ", "source", "key"),
    [
        ({"port": 70000}, {}, "command line", "--port"),
        ({"log_format": "x"}, {}, "command line", "--log-format"),
        ({"host": "0.0.0.0"}, {}, "command line", "--host"),
        ({"drain_timeout": 0}, {}, "command line", "--drain-timeout"),
        ({"tls_cert": "no.pem", "tls_key": "empty.pem"}, {}, "command line", "--tls-cert no.pem"),
        ({"tls_cert": "empty.pem", "tls_key": "k.pem"}, {}, "command line", "--tls-key k.pem"),
        ({"log_level": "critical"}, {}, "command line", "--log-level"),
        ({"port": "4001"}, {}, "command line", "--port"),
        ({}, {"PASSTHROUGH_LISTEN_PORT": "tcp://10.0.0.1:4000"}, "environment", "PASSTHROUGH_LISTEN_PORT"),
        ({}, {"PASSTHROUGH_WORKERS": "0"}, "environment", "PASSTHROUGH_WORKERS"),
        ({}, {"PASSTHROUGH_LISTEN_HOST": "::"}, "environment", "PASSTHROUGH_LISTEN_HOST"),
        ({}, {"PASSTHROUGH_TLS_KEY": "k.pem"}, "environment", "PASSTHROUGH_TLS_KEY"),
        ({}, {"PASSTHROUGH_LOG_LEVEL": "critical"}, "environment", "PASSTHROUGH_LOG_LEVEL"),
        ({}, {"PASSTHROUGH_MAX_CONNECTIONS": "-1"}, "environment", "PASSTHROUGH_MAX_CONNECTIONS"),
    ],
)
def test_settings_from_elsewhere(
    tmp_path: Path, flags: dict[str, object], environ: dict[str, str], source: str, key: str
) -> None:
    """A bad flag or variable is reported by its own name."""
    written(tmp_path, "", "empty.pem")
    assert [(source, 0, key)] == [(p.file, p.line, p.key) for p in problems(tmp_path, A, environ, listen=flags)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("no.json", None, "There is no such file."),
        (".", None, "The file cannot be read: Is a directory."),
        ("map.json", b"", "This is not JSON: line 1, column 1."),
        ("map.json", b'{\n"a/b": {"ocr_cost_per_page": "much"}}', "'ocr_cost_per_page' of 'a/b' is no price."),
    ],
)
def test_a_price_map_that_is_none(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    """A price map that is missing or wrong is a problem of the configuration, with its line and how to mend it."""
    if content is not None:
        written(tmp_path, content, name)
    (problem,) = problems(tmp_path, A + f"price_map: {name}\n")
    assert (4, f"price_map {name}", words) == (problem.line, problem.key, problem.what)
    assert "model_prices_and_context_window.json" in problem.hint
    with pytest.raises(ConfigError) as caught:
        load.load_price_map(written(tmp_path, f"price_map: {name}\n"), {}, cwd=tmp_path)
    assert words in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is missing, a directory, or has an impossible name is reported, with how to name another."""
    for name, words in (("no.yaml", "no such file"), (".", "a directory"), ("a\0b", "cannot be read"), ("x" * 300, "too long")):
        with pytest.raises(ConfigError) as caught:
            load.load(name, {}, cwd=tmp_path)
        assert words in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    """A file that may not be read is reported."""
    file = written(tmp_path, A)
    Path(file).chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        load.load(file, {}, cwd=tmp_path)


def test_one_setting_by_two_names(tmp_path: Path) -> None:
    """LiteLLM's timeout and our timeouts.total are the same: together they are reported."""
    found = problems(tmp_path, A + "  timeout: 5\n  timeouts: {total: 6}\n")
    assert [(4, "pass_through_endpoints[0].timeout")] == [(problem.line, problem.key) for problem in found]


def test_a_file_that_many_routes_trust(tmp_path: Path) -> None:
    """A ca_file that is wrong is reported at every route that names it."""
    text = "".join(f"- {{path: /{i}, target: 'https://h', upstream_tls: {{ca_file: no.pem}}}}\n" for i in range(2))
    assert [2, 3] == [problem.line for problem in problems(tmp_path, "pass_through_endpoints:\n" + text)]


CANARY = "canary0123456789"
_SECRETS = {"SPACED": f" {CANARY} ", "CUT": f"{CANARY}…", "PEM": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n"}
LEAKS = [
    "master_key: 'CANARY with space'\n",
    "master_key: *CANARY\n",
    "master_key: !CANARY x\n",
    "master_key: [CANARY]\n",
    "master_key: {a: CANARY}\n",
    "master_key: sha256:CANARY\n",
    "master_key: 'CANARY\n",
    "client_keys: [{name: a, key: 'CANARY é\\'}]\n",
    "client_keys: CANARY\n",
    "client_keys: [{name: a, key: CANARY}, {name: b, key: CANARY}]\n",
    "ledger: postgresq://u:CANARY@h/db\n",
    "ledger: postgresql://u:CANARY@h:port/db\n",
    "ledger: 'sqlite://CANARY'\n",
    "ledger: CANARY\n",
    "budget_webhook: 'https://u:CANARY@h'\n",
    "budget_webhook: CANARY\n",
    "budget_webhook: [CANARY]\n",
    "journal: os.environ/PEM\n",
    '  headers: {Authorization: "Bearer CANARY\\n"}\n',
    "  headers: {Authorization: [CANARY]}\n",
    "  headers: {Authorization: os.environ/SPACED}\n",
    "  headers: {litellm_user_api_key: 'a CANARY'}\n",
    "  headers: {Host: CANARY}\n",
    "  headers: Authorization CANARY\n",
    "  proxy: https://u:CANARY@h\n",
    "  proxy: http://u:CANARY@h:99999\n",
    "  proxy: http://u:CANARY@h h\n",
    "  timeout: CANARY\n",
    "  auth: os.environ/SPACED\n",
    "  default_query_params: {key: [CANARY]}\n",
    "- {path: /b, target: 'https://u:CANARY@h'}\n",
    "- {path: /b, target: 'https://os.environ/SPACED/'}\n",
    "- {path: /b, target: 'https://h/?key=CANARY#x'}\n",
    "  headers: {Authorization: Bearer CANARY…}\n",
    "  headers: {Authorization: Bearer os.environ/CUT}\n",
    "master_key: CANARY…\n",
    "tls_cert: os.environ/PEM\ntls_key: os.environ/PEM\n",
    "tls_cert: os.environ/SPACED\ntls_key: os.environ/CUT\n",
    "  upstream_tls: {ca_file: os.environ/PEM}\n",
    "  upstream_tls: {ca_file: os.environ/SPACED}\n",
]


@pytest.mark.parametrize("text", LEAKS)
def test_no_message_holds_a_value(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with a value that may be secret, no problem repeats it."""
    found = problems(tmp_path, A + text.replace("CANARY", CANARY), _SECRETS)
    assert found
    assert CANARY not in "".join(str(problem) for problem in found) + repr(found)


def test_no_configuration_shows_its_secrets(tmp_path: Path) -> None:
    """The repr of a configuration, in a traceback say, holds none of its secrets."""
    text = f"""\
pass_through_endpoints:
- {{path: /a, target: 'http://a.example', headers: {{x-a: {CANARY}, x-b: os.environ/C}}, proxy: 'http://u:{CANARY}@p'}}
client_keys: [{{name: a, key: "{CANARY}"}}]
master_key: os.environ/M
budget_webhook: https://hooks.example/{CANARY}
ledger: sqlite:///{CANARY}.db
"""
    found = loaded(tmp_path, text, {"C": CANARY, "M": CANARY + "m"})
    assert CANARY not in repr(found)


def test_a_key_that_does_not_fit_the_certificate(tmp_path: Path) -> None:
    """Certificate and key that do not belong together are reported before a client connects."""
    ca = trustme.CA()
    ca.issue_cert("a.example").cert_chain_pems[0].write_to_path(tmp_path / "c.pem")
    ca.issue_cert("b.example").private_key_pem.write_to_path(tmp_path / "k.pem")
    words = "The certificate c.pem and the key k.pem do not belong together."
    _expect((4, "tls_cert", words), problems(tmp_path, A + "tls_cert: c.pem\ntls_key: k.pem\n"))


def test_a_file_of_tls_is_named_as_it_was_given(tmp_path: Path) -> None:
    """Whoever misspells the name of a file reads it, and what it is relative to."""
    (tmp_path / "k.pem").touch()
    (problem,) = problems(tmp_path, A, {}, listen={"tls_cert": "nope.pem", "tls_key": "k.pem"})
    expected = (
        "command line --tls-cert nope.pem: There is no such file.\n"
        "  Check its name, which is relative to the working directory, and its permissions."
    )
    assert expected == str(problem)
