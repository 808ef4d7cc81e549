"""Requests to AWS that need a signature: who we are to an EKS cluster, where it is, and kept secrets.

Credentials and region are found as every AWS program finds them; on Lambda they are the function's role's. An
endpoint other than AWS's own is named by `AWS_ENDPOINT_URL_<SERVICE>`, as for them.
"""

import json
import os
from base64 import b64decode, urlsafe_b64encode
from io import BytesIO
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3
from awscrt.auth import AwsCredentialsProvider, AwsSignatureType, AwsSigningConfig, aws_sign_request
from awscrt.exceptions import AwsCrtError
from awscrt.http import HttpHeaders, HttpRequest
from urllib3.exceptions import HTTPError

_LINK_SECONDS = 60
"""What AWS's own programs put into such a token. EKS takes it for a quarter of an hour all the same."""
_TIMEOUT_SECONDS = 5.0
_IDS = {"sts": "STS", "eks": "EKS", "secretsmanager": "SECRETS_MANAGER"}


class AwsUnavailable(Exception):  # noqa: N818
    """AWS does not do it now or at all; the message is a sentence."""


def eks_token(cluster: str) -> str:
    """A bearer token for an EKS cluster: a signed request to STS, which the cluster sends to see who we are.

    The format is aws-iam-authenticator's: `k8s-aws-v1.` and the request's address in Base64 for URLs. Nothing
    is asked of AWS for it. Raises AwsUnavailable when there are no credentials or no region.
    """
    address = f"{_endpoint('sts')}/?Action=GetCallerIdentity&Version=2011-06-15"
    signed = _signed(
        "GET", address, "sts", {"x-k8s-aws-id": cluster}, kind=AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS
    )
    parts = urlsplit(address)
    link = f"{parts.scheme}://{parts.netloc}{signed.path}"
    return "k8s-aws-v1." + urlsafe_b64encode(link.encode()).decode().rstrip("=")


def eks_cluster(name: str) -> tuple[str, str]:
    """An EKS cluster's address and the certificate of its authority, as PEM. Raises AwsUnavailable."""
    found = _ask("GET", f"{_endpoint('eks')}/clusters/{quote(name, safe='')}", "eks", {}, b"")["cluster"]
    return found["endpoint"], b64decode(found["certificateAuthority"]["data"]).decode()


def secret(name: str) -> str:
    """What the secret of this name or ARN holds, in AWS Secrets Manager. Raises AwsUnavailable."""
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": "secretsmanager.GetSecretValue",
    }
    body = json.dumps({"SecretId": name}).encode()
    found = _ask("POST", f"{_endpoint('secretsmanager')}/", "secretsmanager", headers, body)
    text: str | None = found.get("SecretString")
    if text is None:
        raise AwsUnavailable(f"The secret {name} holds no text.")
    return text


def _ask(method: str, address: str, service: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    signed = _signed(method, address, service, headers, body)
    try:
        answer = urllib3.request(
            method,
            address,
            body=body or None,
            headers=dict(signed.headers),
            timeout=_TIMEOUT_SECONDS,
            retries=urllib3.Retry(2, backoff_factor=0.3, status_forcelist=(429, 500, 502, 503, 504)),
        )
    except HTTPError as error:
        raise AwsUnavailable(f"AWS's service {service} cannot be reached.") from error
    if answer.status != 200:
        said = answer.data.decode("utf-8", "replace")[:300]
        raise AwsUnavailable(f"AWS's service {service} refuses with status {answer.status}: {said}")
    found: dict[str, Any] = answer.json()
    return found


def _signed(
    method: str,
    address: str,
    service: str,
    headers: dict[str, str],
    body: bytes = b"",
    kind: AwsSignatureType = AwsSignatureType.HTTP_REQUEST_HEADERS,
) -> HttpRequest:
    """The request with AWS's Signature Version 4, by AWS's own library. Raises AwsUnavailable."""
    parts = urlsplit(address)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    request = HttpRequest(
        method, path, HttpHeaders([("host", parts.netloc), *headers.items()]), BytesIO(body)
    )
    by_link = kind is AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS
    config = AwsSigningConfig(
        signature_type=kind,
        credentials_provider=AwsCredentialsProvider.new_default_chain(),
        region=_region(),
        service=service,
        expiration_in_seconds=_LINK_SECONDS if by_link else None,
    )
    try:
        signed: HttpRequest = aws_sign_request(request, config).result(_TIMEOUT_SECONDS)
    except (AwsCrtError, TimeoutError) as error:
        raise AwsUnavailable("There are no AWS credentials to sign a request with.") from error
    return signed


def _endpoint(service: str) -> str:
    region = _region()
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    own = os.environ.get(f"AWS_ENDPOINT_URL_{_IDS[service]}", "").rstrip("/")
    return own or f"https://{service}.{region}.{domain}"


def _region() -> str:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise AwsUnavailable("AWS_REGION is not set, so nobody knows in which region to ask.")
    return region
