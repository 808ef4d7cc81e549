"""Plays the part of AWS for two requests, and checks their signatures as AWS describes it."""

import hashlib
import hmac
import json
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

KEY_ID, SECRET, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a+session/token="
REGION = "eu-central-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_SESSION_TOKEN": SESSION,
    "AWS_REGION": REGION,
}


def signature(
    method: str, address: str, headers: Mapping[str, str], signed: str, body: bytes, service: str, date: str
) -> str:
    """AWS Signature Version 4, from its documentation ("Create a signed AWS API request")."""
    parts = urlsplit(address)
    query = sorted(
        (quote(name, safe=""), quote(value, safe=""))
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name != "X-Amz-Signature"
    )
    lines = [f"{name}:{headers[name].strip()}\n" for name in signed.split(";")]
    request = "\n".join(
        [
            method,
            quote(parts.path, safe="/"),
            "&".join("=".join(pair) for pair in query),
            "".join(lines),
            signed,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{date[:8]}/{REGION}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


@contextmanager
def aws_services(secrets: Mapping[str, str], clusters: Mapping[str, Any]) -> Iterator[str]:
    """Answers EKS' DescribeCluster and Secrets Manager's GetSecretValue. Its address.

    Args:
        secrets: what each secret holds.
        clusters: the address and the authority's certificate of each cluster.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._check(b"", "eks")
            name = self.path.removeprefix("/clusters/")
            if name not in clusters:
                self._answer(404, {"message": f"No cluster found for name: {name}."})
                return
            endpoint, authority = clusters[name]
            data = b64encode(authority).decode()
            self._answer(200, {"cluster": {"endpoint": endpoint, "certificateAuthority": {"data": data}}})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._check(body, "secretsmanager")
            assert self.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
            name = json.loads(body)["SecretId"]
            if name not in secrets:
                self._answer(400, {"__type": "ResourceNotFoundException", "Message": "can't find it"})
                return
            self._answer(200, {"Name": name, "SecretString": secrets[name]})

        def _check(self, body: bytes, service: str) -> None:
            kind, _, rest = self.headers["Authorization"].partition(" ")
            fields = dict(field.split("=", 1) for field in rest.split(", "))
            headers = {name.lower(): value for name, value in self.headers.items()}
            assert kind == "AWS4-HMAC-SHA256"
            assert headers["x-amz-security-token"] == SESSION
            date = headers["x-amz-date"]
            assert fields["Credential"] == f"{KEY_ID}/{date[:8]}/{REGION}/{service}/aws4_request"
            expected = signature(
                self.command, self.path, headers, fields["SignedHeaders"], body, service, date
            )
            if not hmac.compare_digest(fields["Signature"], expected):
                self._answer(403, {"message": "The request signature we calculated does not match"})
                raise AssertionError(fields)

        def _answer(self, status: int, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
