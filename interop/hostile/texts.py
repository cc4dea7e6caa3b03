"""REST, GraphQL, JSON-RPC and MCP: texts that are none, too deep, too many; sockets that break the rules; streams that nobody reads."""

import json
import struct
import time

import wire
from frames import JSON_NOT_AN_ITEM
from upstreams import LIMIT
from site_under_test import until

KIND = [("Content-Type", "application/json")]


def cases(site):
    rest(site)
    graphql(site)
    graphql_socket(site)
    graphql_events(site)
    json_rpc(site)
    json_rpc_socket(site)
    mcp(site)
    sockets(site)


def rest(site):
    site.checks.group = "REST"
    for name, text in JSON_NOT_AN_ITEM.items():
        if not text.strip():
            continue
        said = site.call("rest", "Good", body=text)
        site.checks.ok(f"{name} is refused", said.code == "INVALID_ARGUMENT" and len(said.message) > 8, said)
        said = site.read_rest(wire.http1(site.port, "POST", "/Good:put", KIND, text))
        site.checks.ok(f"{name} is refused by its path", said.code == "INVALID_ARGUMENT" and len(said.message) > 8, said)
    for query in ("small=x", "small=1&small=2", "small=2147483648", "nmae=x", "item.name=%ff", "item.nmae=x", "big=1e3", "number=nan1", "data=%3f", "items=x", "by_name[a=x", "any=x", "name", "=", "&&&", "item.item.item.item.item.name=x", "item." * 500 + "name=x", "smalls=" + "1&smalls=" * 3000 + "1"):
        said = site.read_rest(wire.http1(site.port, "GET", f"/Good/x?{query}"))
        site.checks.ok(f"the query {query[:40]!r} is answered", said.code in ("INVALID_ARGUMENT", "OK", "RESOURCE_EXHAUSTED") and len(said.message) > 8 or said.code == "OK", said)
    for kind in ("text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16"):
        said = site.read_rest(wire.http1(site.port, "POST", "/hostile.v1.Good/Get", [("Content-Type", kind)], b"name=x"))
        site.checks.ok(f"{kind} is refused", said.code in ("INVALID_ARGUMENT", "415"), said)
    for encoding in ("gzip", "snappy", "gzip, gzip"):
        said = site.read_rest(wire.http1(site.port, "POST", "/hostile.v1.Good/Get", [*KIND, ("Content-Encoding", encoding)], b"{}"))
        site.checks.ok(f"content encoding {encoding} is answered", said.code is not None, said)
    for method in ("Send", "Talk"):
        said = site.call("rest", "Good", method=method)
        site.checks.ok(f"{method} without a WebSocket is refused", said.code not in ("OK", None) and len(said.message) > 8, said)
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        said = site.read_rest(wire.http1(site.port, method, "/hostile.v1.Good/Get", KIND, b"{}"))
        site.checks.ok(f"{method} is refused", said.code in ("405", "NOT_FOUND", "INVALID_ARGUMENT", "UNIMPLEMENTED"), said)


def graphql(site):
    site.checks.group = "GraphQL"
    deep = "{a" * 3000 + "}" * 3000
    documents = {
        "a bracket": "{", "deep fields": deep, "deep lists": "{ goodGet(smalls: " + "[" * 5000 + "]" * 5000 + ") { name } }",
        "deep objects": "{ goodGet(item: " + "{item: " * 3000 + "{}" + "}" * 3000 + ") { name } }", "a text without end": '{ goodGet(name: "x',
        "a block text without end": '{ goodGet(name: """x', "a wrong escape": '{ goodGet(name: "\\ud800") { name } }', "a NUL": "{ goodGet\0 { name } }",
        "aliases": "{" + " ".join(f"a{i}: goodGet(name: \"x\") {{ name }}" for i in range(30)) + "}", "fragments in a circle": "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
        "directives": "{ goodGet(name: \"x\") { name" + " @skip(if: false)" * 100 + " } }", "20,000 tokens": "{" + " a" * 20000 + "}", "a field that is not there": "{ nope }",
        "a type that is wrong": '{ goodGet(small: "x") { name } }', "too large a number": "{ goodGet(small: 99999999999) { name } }", "a huge number": "{ goodGet(big: " + "9" * 3000 + ") { name } }",
        "a variable that nobody declares": "query { goodGet(name: $x) { name } }", "an unknown directive": "{ goodGet @nope { name } }", "two operations": "query a { __typename } query b { __typename }",
        "types of types": "{ __schema { types { fields { type { ofType { ofType { ofType { ofType { ofType { ofType { name } } } } } } } } } }", "introspection in a circle": "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }",
        "a byte order mark": "\ufeff{ __typename", "overlapping fields": '{ goodGet(name: "a") { name } goodGet(name: "b") { name } }', "a subscription": 'subscription { goodWatch(name: "x") { name } }',
    }  # fmt: skip
    for name, query in documents.items():
        began = time.monotonic()
        said = site.call("graphql", "Good", query=query, variables={})
        good = said.code not in ("OK", None) and len(said.message) > 5 and time.monotonic() - began < 2
        site.checks.ok(f"{name} is refused", good, said)
    for name, text in JSON_NOT_AN_ITEM.items():
        body = b'{"query":"query ($i: GoodItemInput) { __typename }","variables":' + text + b"}"
        said = site.read_graphql(wire.http1(site.port, "POST", "/graphql", KIND, body))
        site.checks.ok(f"variables that are {name} are answered", said.code not in (None, "INTERNAL"), said)
    bodies = [b"", b"{", b"[]", b"[{}]", b"null", b'{"query":1}', b'{"query":null}', b'{"query":"{__typename}","query":"{x}"}', b'{"query":"{__typename}","variables":[]}', b'{"query":"{__typename}","operationName":5}', b"\xff", b'{"query":"{__typename}","extensions":{"persistedQuery":{"version":1,"sha256Hash":"x"}}}', b'{"extensions":{"persistedQuery":{"version":9e99}}}', b'{"query":' * 50000, b"[" + b'{"query":"{__typename}"},' * 1000 + b"{}]"]
    for body in bodies:
        answer = wire.http1(site.port, "POST", "/graphql", KIND, body)
        errors = (answer.json() or {}).get("errors") if isinstance(answer.json(), dict) else None
        site.checks.ok(f"the body {body[:50]!r} is refused", errors and len(errors[0]["message"]) > 5 and answer.status in (200, 400), answer)
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/graphql", ""):
        answer = wire.http1(site.port, "POST", "/graphql", [("Content-Type", kind)], b'{"query":"{__typename}"}')
        site.checks.ok(f"the type {kind!r} is refused", answer.status in (400, 415) and answer.body, answer)
    for query in ("", "?query=", "?query=%ff", "?query={", "?query={__typename}&variables={", "?query=mutation{goodPut(name:%22x%22){name}}", "?query={__typename}&query={x}"):
        answer = wire.http1(site.port, "GET", f"/graphql{query}")
        site.checks.ok(f"GET {query!r} is answered", 200 <= answer.status < 500, answer)
    answer = wire.http1(site.port, "POST", "/graphql", KIND, b'{"query":"' + b"#" * (10 << 20) + b'"}', timeout=10)
    site.checks.ok("a document of 10 MiB is refused", answer.status in (413, 400, 200), answer)


def graphql_socket(site):
    site.checks.group = "GraphQL over WebSocket"
    stream = {"query": 'subscription { goodWatch(name: "drip") { name } }'}

    def opened(init=True):
        ws = wire.Ws(site.port, "/graphql", "graphql-transport-ws")
        if init:
            ws.say({"type": "connection_init"})
            ws.hear()
        return ws

    ends = {
        "no JSON": ("{", 4400), "no object": ("[]", 4400), "no type": ("{}", 4400), "an unknown type": ('{"type":"x"}', 4400), "a type that is a number": ('{"type":5}', 4400),
        "init twice": ('{"type":"connection_init"}', 4429), "subscribe without id": ('{"type":"subscribe","payload":{}}', 4400), "subscribe without payload": ('{"type":"subscribe","id":"1"}', 4400),
        "an id that is a number": ('{"type":"subscribe","id":1,"payload":{"query":"{__typename}"}}', 4400), "deep JSON": ('{"type":' + "[" * 50000, 4400), "an empty id": ('{"type":"subscribe","id":"","payload":{"query":"{__typename}"}}', 4400),
    }  # fmt: skip
    for name, (text, code) in ends.items():
        with opened() as ws:
            ws.send(text)
            got = ws.hear()
            site.checks.ok(f"{name} closes with {code}", got and got.get("close") == code and got["reason"], got)
    with opened(False) as ws:
        ws.say({"type": "subscribe", "id": "1", "payload": stream})
        got = ws.hear()
        site.checks.ok("subscribe before init closes with 4401", got and got.get("close") == 4401 and got["reason"], got)
    with opened() as ws:
        for _ in range(2):
            ws.say({"type": "subscribe", "id": "1", "payload": stream})
        got = until(lambda: next((g for g in iter(ws.hear, None) if "close" in g), None), 5)
        site.checks.ok("an id twice closes with 4409", got and got["close"] == 4409 and got["reason"], got)
    with opened() as ws:
        for number in range(101):
            ws.say({"type": "subscribe", "id": str(number), "payload": stream})
        got = until(lambda: next((g for g in iter(ws.hear, None) if g.get("type") == "error" or "close" in g), None), 5)
        site.checks.ok("the 101st subscription is refused", got is not None, got)
    with opened() as ws:
        ws.say({"type": "subscribe", "id": "1", "payload": {"query": "{"}})
        got = ws.hear()
        site.checks.ok("a document that cannot be read is an error of that id", got and got.get("type") == "error" and got["id"] == "1" and got["payload"][0]["message"], got)
        for number in range(500):
            ws.say({"type": "complete", "id": str(number)})
        ws.say({"type": "ping"})
        got = ws.hear()
        site.checks.ok("complete of nothing is passed over", got == {"type": "pong"}, got)
    with wire.Ws(site.port, "/graphql", "graphql-ws") as ws:
        got = ws.hear()
        site.checks.ok("the old subprotocol closes with 4406", ws.head.status != 101 or got and got.get("close") == 4406, (ws.head, got))
    # Who does not read holds up himself only: memory is bounded.
    before = site.rss()
    idle = []
    for _ in range(20):
        ws = opened()
        ws.say({"type": "subscribe", "id": "1", "payload": {"query": 'subscription { goodWatch(name: "many") { name } }'}})
        idle.append(ws)
    time.sleep(1.5)
    site.checks.ok("streams that nobody reads take no memory", site.rss() - before < 48 * 1024, (before, site.rss()))
    site.checks.ok("others are served meanwhile", site.alive())
    for ws in idle:
        ws.sock.close()


def graphql_events(site):
    site.checks.group = "GraphQL over SSE"
    accept = [("Accept", "text/event-stream")]
    for body in (b"{", b'{"query":"{"}', b'{"query":"subscription { nope }"}', b'{"query":"subscription { goodWatch(name: 5) { name } }"}'):
        answer = wire.http1(site.port, "POST", "/graphql", [*KIND, *accept], body)
        site.checks.ok(f"{body!r} is refused", b"errors" in answer.body and b"message" in answer.body, answer)
    answer = wire.http1(site.port, "GET", "/graphql?token=no-such", accept)
    site.checks.ok("a token that nobody reserved is refused", answer.status in (400, 404, 409) and answer.body, answer)
    for _ in range(3):
        answer = wire.http1(site.port, "PUT", "/graphql", accept)
        site.checks.ok("a reservation that is never opened", answer.status in (201, 429, 503), answer)
    site.checks.ok("DELETE of nothing is refused", wire.http1(site.port, "DELETE", "/graphql?operationId=x", [("X-GraphQL-Event-Stream-Token", "x")]).status in (400, 404), "")


NOT_A_REQUEST = {
    b"": -32700, b"{": -32700, b"\xff": -32700, b"[": -32700, b'{"jsonrpc":"2.0","method":"x","id":1}{}': -32700, b'{"a":' * 50000: -32600, b"[" * 100000: -32600,
    b"null": -32600, b"5": -32600, b'"x"': -32600, b"[]": -32600, b"{}": -32600, b'{"jsonrpc":"1.0","method":"x","id":1}': -32600, b'{"jsonrpc":"2.0","method":5,"id":1}': -32600,
    b'{"jsonrpc":"2.0","method":"x","id":{}}': -32600, b'{"jsonrpc":"2.0","method":"x","id":[1]}': -32600, b'{"jsonrpc":"2.0","method":"x","id":true}': -32600, b'{"jsonrpc":"2.0","method":"x","params":5,"id":1}': -32600,
    b'{"jsonrpc":"2.0","method":"x","id":1,"id":2}': -32600, b'{"jsonrpc":"2.0","method":"x","id":1,"more":2}': -32600, b'{"jsonrpc":"2.0","method":"x","id":"' + b"y" * 5000 + b'"}': -32600,
    b'{"jsonrpc":"2.0","method":"no.Such/Method","id":1}': -32601, b'{"jsonrpc":"2.0","method":"' + b"x" * 50000 + b'","id":1}': -32600, b'{"jsonrpc":"2.0","method":"../x","id":1}': -32601,
    b'{"jsonrpc":"2.0","method":"hostile.v1.Good/Get","params":[1,2,3,4,5,6,7,8,9,10,11,12,13],"id":1}': -32602, b'{"jsonrpc":"2.0","method":"hostile.v1.Good/Get","params":[5],"id":1}': -32602, b'{"jsonrpc":"2.0","method":"rpc.unsubscribe","params":{"a":5},"id":1}': (-32602, -32601, -32600),
}  # fmt: skip


def json_rpc(site):
    site.checks.group = "JSON-RPC"
    for text, code in NOT_A_REQUEST.items():
        codes = code if isinstance(code, tuple) else (code,)
        answer = wire.http1(site.port, "POST", "/rpc", KIND, text)
        error = (answer.json() or {}).get("error", {}) if isinstance(answer.json(), dict) else {}
        site.checks.ok(f"{text[:60]!r} is {code}", answer.status == 200 and error.get("code") in codes and error.get("message"), answer)
    for name, text in JSON_NOT_AN_ITEM.items():
        body = b'{"jsonrpc":"2.0","method":"hostile.v1.Good/Get","id":7,"params":' + text + b"}"
        got = wire.http1(site.port, "POST", "/rpc", KIND, body).json()
        codes = [g.get("error", {}).get("code") for g in (got if isinstance(got, list) else [got])]
        site.checks.ok(f"params that are {name} are refused", set(codes) <= {-32602, -32700, -32600} or name in ("nothing but space", "a list"), got)
    one = b'{"jsonrpc":"2.0","method":"hostile.v1.Good/Get","params":{"name":"x"},"id":1}'
    got = wire.http1(site.port, "POST", "/rpc", KIND, b"[" + b",".join([one] * 1001) + b"]").json()
    site.checks.ok("a batch of 1,001 is refused", isinstance(got, dict) and got["error"]["code"] in (-32600, -32008), got if not isinstance(got, list) else len(got))
    got = wire.http1(site.port, "POST", "/rpc", KIND, b"[" + b",".join([one, b"1", b"{}", b"[]", one]) + b"]").json()
    site.checks.ok("a batch of good and bad is answered one by one", isinstance(got, list) and len(got) == 5 and "result" in got[0] and got[1]["error"]["code"] == -32600, got)
    for sb in ({"timeout": "x"}, {"timeout": -1}, {"wait": "99999999999999999999s"}, {"nope": 1}, {"metadata": {"a\r\nb": "c"}}, {"metadata": {"a": "b\r\nc: d"}}, {"metadata": {"a": 5}}, {"metadata": {"": "x"}}, "x", [], {"key": {}}, {"idempotency_key": "x" * 100000}):
        got = site.call("json-rpc", "Good", more={"sb": sb})
        site.checks.ok(f"sb = {json.dumps(sb)[:60]} is refused", got.code in ("-32600", "INVALID_ARGUMENT") and len(got.message) > 8, got)
    for kind in ("text/plain", "", "application/x-www-form-urlencoded"):
        answer = wire.http1(site.port, "POST", "/rpc", [("Content-Type", kind)], one)
        site.checks.ok(f"the type {kind!r} is 415", answer.status == 415 and answer.body, answer)
    answer = wire.http1(site.port, "POST", "/rpc", KIND, b" " * (10 << 20), timeout=10)
    site.checks.ok("10 MiB are 413", answer.status in (413,), answer)


def json_rpc_socket(site):
    site.checks.group = "JSON-RPC over WebSocket"
    with wire.Ws(site.port, "/rpc") as ws:
        for text, code in NOT_A_REQUEST.items():
            codes = code if isinstance(code, tuple) else (code,)
            if len(text) > LIMIT or b"\xff" in text:
                continue
            ws.send(text)
            got = ws.hear()
            site.checks.ok(f"{text[:60]!r} is {code}", got and got.get("error", {}).get("code") in codes, got)
        watch = {"jsonrpc": "2.0", "method": "hostile.v1.Good/Watch", "params": {"name": "drip"}}
        for number in range(257):
            ws.say({**watch, "id": number})
        last = until(lambda: next((g for g in iter(ws.hear, None) if "error" in g), None), 8)
        site.checks.ok("the 257th subscription is refused", last is not None and last["error"]["message"], last)
    with wire.Ws(site.port, "/rpc") as ws:
        for method in ("Send", "Talk"):
            ws.say({"jsonrpc": "2.0", "id": 1, "method": f"hostile.v1.Good/{method}", "params": {}})
            got = ws.hear()
            site.checks.ok(f"{method} is refused", got and "error" in got and got["error"]["message"], got)
        # Requests without end, and nobody reads the answers.
        big = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "hostile.v1.Good/Get", "params": {"name": "x" * 100000}}).encode()
        ws.sock.settimeout(1)
        before = site.rss()
        for _ in range(1000):
            if not ws.send(big):
                break
            if site.rss() - before > 100 * 1024:
                break
        site.checks.ok("answers that nobody reads are bounded", site.rss() - before < 64 * 1024, (before, site.rss()))


def mcp(site):
    site.checks.group = "MCP"
    session = site.mcp_session()
    for body in (b"", b"{", b"[", b"null", b"5", b"{}", b'{"jsonrpc":"1.0","id":1,"method":"x"}', b'{"jsonrpc":"2.0","id":{},"method":"ping"}', b'{"a":' * 50000, b"[" * 100000, b"\xff\xfe", b"[]"):
        for use in (None, session):
            answer = site.mcp_post(body, use)
            site.checks.ok(f"{body[:40]!r} is refused, session {bool(use)}", 400 <= answer.status < 500 or (answer.status == 200 and b'"error"' in answer.body), answer)
    bad = [
        {"method": "no/such"}, {"method": "tools/call"}, {"method": "tools/call", "params": []}, {"method": "tools/call", "params": {"name": 5}}, {"method": "tools/call", "params": {"name": "nope"}},
        {"method": "tools/call", "params": {"name": "hostile_v1_Good_Get", "arguments": []}}, {"method": "tools/call", "params": {"name": "hostile_v1_Good_Get", "arguments": "x"}}, {"method": "tools/list", "params": {"cursor": 5}},
        {"method": "resources/read", "params": {"uri": "file:///etc/passwd"}}, {"method": "resources/read", "params": {"uri": "sb://topics/../x"}}, {"method": "resources/read", "params": {"uri": "sb://topics/%00"}}, {"method": "resources/read", "params": {"uri": "x" * 100000}},
        {"method": "resources/read", "params": {"uri": "sb://topics/a/99999999999999999999-1"}}, {"method": "resources/read", "params": {"uri": "sb://topics/a?last=-1"}}, {"method": "resources/subscribe", "params": {"uri": "sb://"}}, {"method": "logging/setLevel", "params": {"level": "x"}},
        {"method": "initialize", "params": {"protocolVersion": 5}}, {"method": "prompts/get", "params": {"name": "x"}}, {"method": "completion/complete", "params": {}},
    ]  # fmt: skip
    for number, request in enumerate(bad):
        answer = site.mcp_post({"jsonrpc": "2.0", "id": 1000 + number, **request}, session)
        text = answer.body.decode(errors="replace")
        site.checks.ok(f"{json.dumps(request)[:80]} is refused", 400 <= answer.status < 500 or '"error"' in text or '"isError":true' in text, answer)
    for name, text in JSON_NOT_AN_ITEM.items():
        body = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"hostile_v1_Good_Get","arguments":' % next(site.ids) + text + b"}}"
        answer = site.mcp_post(body, session)
        refused = 400 <= answer.status < 500 or b'"error"' in answer.body or b'"isError":true' in answer.body
        site.checks.ok(f"arguments that are {name} are refused", refused or name in ("nothing but space", "a field twice", "1e999"), answer)
    for use in ("no-such-session", "", "x" * 5000, "../x"):
        answer = site.mcp_post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, use or "0")
        site.checks.ok(f"the session {use[:20]!r} is refused", answer.status in (400, 404, 422) and answer.body, answer)
    for headers, codes in (([("Accept", "text/html")], (406,)), ([("Accept", "application/json, text/event-stream"), ("Content-Type", "text/plain")], (415, 400)), ([*site.MCP_HEAD, ("Mcp-Protocol-Version", "1999-01-01"), ("Mcp-Session-Id", session)], (400,)), ([*site.MCP_HEAD, ("Origin", "http://evil.example")], (403,)), ([*site.MCP_HEAD, ("Last-Event-ID", "x" * 1000)], (200, 400, 422))):
        answer = wire.http1(site.port, "POST", "/mcp", headers, b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
        site.checks.ok(f"{headers[-1]} is {codes}", answer.status in codes, answer)
    answer = site.mcp_post(b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * (10 << 20) + b'"}', session)
    site.checks.ok("10 MiB are refused", answer.status in (413, 400), answer)
    for timeout in ("18446744073709551615", "18446744073709551615s", "99999999999999"):
        said = site.call("mcp", "Good", headers=[("Sb-Timeout", timeout)])
        site.checks.ok(f"Sb-Timeout {timeout} is answered", said.code is not None, said)
    # A session that is ended takes its calls with it.
    site.checks.ok("DELETE ends a session", wire.http1(site.port, "DELETE", "/mcp", [("Mcp-Session-Id", session)]).status in (200, 202, 204))
    answer = site.mcp_post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, session)
    site.checks.ok("an ended session is 404", answer.status == 404, answer)


def sockets(site):
    """Frames that RFC 6455 forbids, on each path that upgrades."""
    site.checks.group = "WebSocket"
    for path, protocol in (("/rpc", None), ("/graphql", "graphql-transport-ws"), ("/hostile.v1.Good/Talk", None)):
        bad = {
            "unmasked": lambda ws: ws.send(b"{}", masked=False), "reserved bits": lambda ws: ws.send(b"{}", opcode=0x71), "an unknown opcode": lambda ws: ws.send(b"", opcode=5),
            "a ping of 126 bytes": lambda ws: ws.send(b"x" * 126, opcode=9), "a ping in pieces": lambda ws: ws.send(b"x", opcode=9, fin=False), "a continuation of nothing": lambda ws: ws.send(b"x", opcode=0),
            "a close of one byte": lambda ws: ws.send(b"x", opcode=8), "close code 1005": lambda ws: ws.send(struct.pack(">H", 1005), opcode=8), "no UTF-8": lambda ws: ws.send(b"\xff\xfe"), "2^63 bytes": lambda ws: ws.send(b"x", length=(1 << 63) - 1),
            "a gigabyte": lambda ws: ws.send(b"x" * 100, length=1 << 30), "pieces without end": lambda ws: [ws.send(b"x" * 10000, opcode=0 if i else 1, fin=False) for i in range(1500)],
        }  # fmt: skip
        for name, do in bad.items():
            with wire.Ws(site.port, path, protocol, timeout=5) as ws:
                site.checks.ok(f"{path}: it opens", ws.head.status == 101, ws.head)
                do(ws)
                got = until(ws.take, 0.01)
                while got and got[0] in (1, 2, 9):
                    got = ws.take()
                code = int.from_bytes(got[1][:2], "big") if got and got[0] == 8 else None
                # Where the close is lost because bytes were still coming the connection is reset.
                site.checks.ok(f"{path}: {name} closes", code in (1002, 1003, 1007, 1008, 1009, 4400) or got is None and name in ("pieces without end", "a gigabyte"), got)
    for headers in ([("Sec-WebSocket-Version", "12")], [("Sec-WebSocket-Key", "x")], [("Origin", "http://evil.example")]):
        head = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")]
        head = [(n, v) for n, v in head if n not in dict(headers)] + headers
        for path in ("/rpc", "/graphql"):
            lines = "".join(f"{n}: {v}\r\n" for n, v in head)
            got = wire.raw(site.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n{lines}\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 3)
            site.checks.ok(f"{path}: {headers} is refused, and nothing behind it read", got[9:10] == b"4" and b"smuggled" not in got and got.count(b"HTTP/1.1 ") == 1, got)
