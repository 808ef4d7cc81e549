"""Who signs download URLs: a private key where there is one, else Google's IAM service."""

from functools import partial
from typing import Any

from google.auth import iam
from google.auth.credentials import Credentials, Signing
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from contract.stores import CannotSign


def signer(credentials: Credentials, timeout: float) -> Signing:
    """What `generate_signed_url` wants as credentials. `timeout` in seconds, for each request to IAM.

    Raises CannotSign: they are nobody's that can sign, or the service account's name cannot be found out.
    """
    if isinstance(credentials, Signing):
        return credentials
    if getattr(credentials, "service_account_email", None) is None:
        raise CannotSign("The credentials cannot sign download links: they are no service account's.")
    request = partial(Request(), timeout=timeout)
    try:
        if not credentials.valid:  # a pod's read "default" as their service account until then
            credentials.refresh(request)
    except GoogleAuthError as error:
        raise CannotSign("Google's metadata server gives no token to sign download links with.") from error
    return _IamSigning(credentials, request)


class _IamSigning(Signing):
    """Signs through IAM's signBlob, as a pod under workload identity must: it has no key.

    The library would do that by itself, given e-mail and token, but then tries for 120 s whatever it is told.
    """

    def __init__(self, credentials: Any, request: Any) -> None:
        self._email = credentials.service_account_email
        self._signer = iam.Signer(request, credentials, self._email)

    def sign_bytes(self, message: bytes) -> bytes:
        try:
            signature: bytes = self._signer.sign(message)
        except GoogleAuthError as error:
            raise CannotSign(
                "Google's IAM service does not sign download links: the service account needs the role "
                "roles/iam.serviceAccountTokenCreator on itself."
            ) from error
        return signature

    @property
    def signer_email(self) -> str:
        return str(self._email)

    @property
    def signer(self) -> iam.Signer:
        return self._signer
