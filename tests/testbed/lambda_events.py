"""The events by which AWS hands an HTTP request to a function, and the answers that it wants.

After AWS's documentation: API Gateway's REST APIs (payload 1.0) and HTTP APIs (2.0), function URLs (2.0 too,
under an address of their own), and Application Load Balancers with and without multi-value headers.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Asked:
    """An HTTP request, of whatever sender."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True)
class Answered:
    """A function's answer, as the sender would pass it on."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The one header of that name."""
        [value] = [value for key, value in self.headers if key.lower() == name.lower()]
        return value


def answered(answer: Mapping[str, Any]) -> Answered:
    """What a client would see of the function's answer. Raises AssertionError when it is none."""
    assert "statusCode" in answer, answer
    single = tuple((answer.get("headers") or {}).items())
    several = tuple(
        (name, value) for name, values in (answer.get("multiValueHeaders") or {}).items() for value in values
    )
    text = answer.get("body") or ""
    body = base64.b64decode(text) if answer.get("isBase64Encoded") else text.encode()
    return Answered(answer["statusCode"], single + several, body)


def _body(asked: Asked) -> dict[str, Any]:
    """Bodies that are not text come in Base64; a REST API does so when told (`*/*`)."""
    kind = dict(asked.headers).get("content-type", "")
    if not asked.body:
        return {"body": None, "isBase64Encoded": False}
    if kind.startswith(("text/", "application/json")):
        return {"body": asked.body.decode(), "isBase64Encoded": False}
    return {"body": base64.b64encode(asked.body).decode(), "isBase64Encoded": True}


def _several(pairs: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return lists


def rest_api(asked: Asked) -> dict[str, Any]:
    """API Gateway, REST API."""
    query = parse_qsl(asked.query)
    headers = (("host", "abc123.execute-api.eu-central-1.amazonaws.com"), *asked.headers)
    return {
        "resource": "/{proxy+}",
        "path": asked.path,
        "httpMethod": asked.method,
        "headers": dict(headers),
        "multiValueHeaders": _several(headers),
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": _several(query) or None,
        "pathParameters": {"proxy": asked.path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc123",
            "httpMethod": asked.method,
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "curl/8"},
            "path": f"/live{asked.path}",
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "resourcePath": "/{proxy+}",
            "stage": "live",
        },
        **_body(asked),
    }


def http_api(asked: Asked) -> dict[str, Any]:
    """API Gateway, HTTP API."""
    return _version_2(asked, "abc123.execute-api.eu-central-1.amazonaws.com")


def function_url(asked: Asked) -> dict[str, Any]:
    """A function's own URL."""
    return _version_2(asked, "abc123.lambda-url.eu-central-1.on.aws")


def _version_2(asked: Asked, domain: str) -> dict[str, Any]:
    headers = _several((("host", domain), *asked.headers))
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": asked.path,
        "rawQueryString": asked.query,
        "headers": {name: ",".join(values) for name, values in headers.items()},
        "queryStringParameters": {name: ",".join(v) for name, v in _several(parse_qsl(asked.query)).items()},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc123",
            "domainName": domain,
            "http": {
                "method": asked.method,
                "path": asked.path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "curl/8",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "22/Nov/2026:21:30:00 +0000",
            "timeEpoch": 1795383000000,
        },
        **_body(asked),
    }


def load_balancer(asked: Asked) -> dict[str, Any]:
    """An Application Load Balancer. It leaves the query as it was written."""
    headers = (("host", "stemjob.example"), ("x-forwarded-for", "192.0.2.1"), *asked.headers)
    query = parse_qsl(asked.query)
    return _balanced(asked) | {
        "headers": dict(headers),
        "queryStringParameters": {name: urlencode({"": value})[1:] for name, value in query},
    }


def load_balancer_multi_value(asked: Asked) -> dict[str, Any]:
    """An Application Load Balancer whose target group has multi-value headers enabled."""
    headers = (("host", "stemjob.example"), ("x-forwarded-for", "192.0.2.1"), *asked.headers)
    query = [(name, urlencode({"": value})[1:]) for name, value in parse_qsl(asked.query)]
    return _balanced(asked) | {
        "multiValueHeaders": _several(headers),
        "multiValueQueryStringParameters": _several(query),
    }


def _balanced(asked: Asked) -> dict[str, Any]:
    group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/stemjob/1"
    return {
        "requestContext": {"elb": {"targetGroupArn": group}},
        "httpMethod": asked.method,
        "path": asked.path,
        **_body(asked),
    }


SENDERS: dict[str, Callable[[Asked], dict[str, Any]]] = {
    "REST API": rest_api,
    "HTTP API": http_api,
    "function URL": function_url,
    "load balancer": load_balancer,
    "load balancer, multi-value": load_balancer_multi_value,
}
