"""Secrets in AWS Secrets Manager (R71)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from reconciler.api.errors import SecretNotFound, SecretUnavailable
from reconciler.settings import Settings
from reconciler.stores.s3.renewal import RenewedClient
from reconciler.stores.secrets import SecretId, SecretValue

if TYPE_CHECKING:
    import boto3

_NOT_FOUND = frozenset({"ResourceNotFoundException"})
_REFUSED = frozenset(
    {"AccessDeniedException", "DecryptionFailure", "InvalidParameterException", "InvalidRequestException"}
)


def client_factory(settings: Settings) -> Callable[[boto3.session.Session], Any]:
    """Make a factory of clients: credentials and region as boto3 finds them, else the region of S3; calls end in time."""

    def make(session: boto3.session.Session) -> Any:  # noqa: ANN401  # boto3 makes its clients at run time
        from botocore.config import Config  # noqa: PLC0415  # as in renewal.py

        config = Config(
            connect_timeout=settings.connect_timeout.total_seconds(),
            read_timeout=settings.socket_timeout.total_seconds(),
            retries={"total_max_attempts": 3, "mode": "standard"},
        )
        region = session.region_name or settings.s3_region
        return session.client("secretsmanager", region_name=region, config=config)

    return make


class AwsSecrets:
    """One secret of AWS for each of ours; both text and binary secrets are read.

    `<prefix><key>` for the installation, `<prefix><domain>/<key>` for a domain, `<prefix><domain>/<project>/<key>` for a
    project; a grouped secret is named `<group>.<key>`.
    """

    def __init__(self, prefix: str, factory: Callable[[boto3.session.Session], Any]) -> None:
        self._prefix = prefix
        self._source = RenewedClient(factory)

    def fetch(self, secret: SecretId) -> SecretValue:
        """Return the secret of exactly this scope.

        Raises:
            SecretNotFound: there is none.
            SecretUnavailable: AWS refuses, or does not answer (then it is worth another try).
        """
        name = self._prefix + "/".join((*secret.scope, secret.name))
        try:
            found = self._source.call(lambda client: client.get_secret_value(SecretId=name))
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _NOT_FOUND:
                raise SecretNotFound(f"AWS Secrets Manager has no {name}") from None
            raise SecretUnavailable(
                f"AWS Secrets Manager refuses {name} ({code}): allow secretsmanager:GetSecretValue, and its key",
                retryable=code not in _REFUSED,
            ) from None
        except BotoCoreError as error:
            raise SecretUnavailable(
                f"AWS Secrets Manager cannot be asked for {name} ({type(error).__name__}): check network, region and "
                "credentials of the workers",
                retryable=True,
            ) from None
        return SecretValue(text=found.get("SecretString") or "", binary=found.get("SecretBinary") or b"")
