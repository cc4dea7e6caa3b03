"""TLS on the listener: HTTP/1.1 and HTTP/2 by ALPN, WebSocket, no plain text."""

import datetime
import ipaddress
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.sync.client import connect

from sb import background, body_of, config, unique


def CONFIG(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return config('[tls]\ncert = "{dir}/cert.pem"\nkey = "{dir}/key.pem"\n', scheme="https")


def SERVER(folder):
    return {"scheme": "https", "verify": ssl.create_default_context(cafile=str(folder / "cert.pem"))}


def test_http1(api):
    topic = unique("tls")
    api.publish(topic, bytes(range(256)))
    assert body_of(api.read(topic)["messages"][0]) == bytes(range(256))


def test_http2_by_alpn(server):
    with server.api(http2=True) as api:
        got = api.ok("GET", "/livez")
        assert got.http_version == "HTTP/2"


def test_websocket(api, server):
    topic = unique("tls")
    api.publish(topic, "x")
    # a context of its own: httpx offers h2 in the one it was given, and this client speaks HTTP/1.1 alone
    context = ssl.create_default_context(cafile=str(server.dir / "cert.pem"))
    with connect(f"{server.ws_url}/topics/{topic}?from=start", ssl=context, proxy=None) as ws:
        assert ws.recv(timeout=15) == "x"


def test_sse_and_long_poll(api):
    topic = unique("tls")
    sent = api.publish(topic, "1")
    waiting = background(lambda: api.read(topic, after=sent["id"], headers={"Prefer": "wait=25"}))
    with api.sse(f"/topics/{topic}", {"from": "start"}) as events:
        assert events.next()["data"] == "1"
    api.publish(topic, "2")
    assert body_of(waiting.result()["messages"][0]) == b"2"


def test_plain_text_is_not_served(server):
    raw = server.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b" 200 " not in raw[:20]


def test_old_versions_are_refused(server):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    except ValueError:
        pytest.skip("this Python cannot speak TLS 1.1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as pipe:
        with pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(pipe)
