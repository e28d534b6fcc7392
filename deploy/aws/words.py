"""What AWS says, turned into a sentence."""

from botocore.exceptions import BotoCoreError, ClientError


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def sentence(error: BotoCoreError | ClientError) -> str:
    """What AWS or its library said, without a traceback."""
    if isinstance(error, ClientError):
        said = error.response.get("Error", {}).get("Message") or code_of(error)
        return f"AWS refuses {error.operation_name} ({code_of(error)}): {said}"
    hint = {
        "NoCredentialsError": "Set AWS_PROFILE, or log in with `aws configure` or `aws sso login`.",
        "NoRegionError": "Name a region with --region or AWS_DEFAULT_REGION.",
    }.get(type(error).__name__, "")
    return f"{str(error).rstrip('.')}. {hint}".rstrip()
