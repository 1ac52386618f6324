"""The API server's options that people know from upstream, by upstream's names, kept with the cluster's settings.

    kybern up --audit-policy-file policy.yaml --audit-log-path audit.log

An option that is not given stays as it was; one that is given empty is unset.
"""

import argparse
from dataclasses import dataclass, field, fields, replace
from typing import Any

from kybern.cmd.arguments import absolute


def option(text: str, default: Any = "", *, path: bool = False) -> Any:
    """`path`: a file of this machine, kept by its whole name."""
    return field(default=default, metadata={"help": text, "path": path})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    audit_policy_file: str = option("what is written into the audit log, as a Policy of audit.k8s.io/v1", path=True)
    audit_log_path: str = option("where audit events go, a JSON object a line", path=True)
    audit_log_maxsize: int = option("megabytes of the audit log before it is rotated", 100)
    audit_log_maxbackup: int = option("rotated audit logs that are kept; 0 keeps all", 0)
    audit_log_maxage: int = option("days that rotated audit logs are kept; 0 keeps all", 0)
    audit_webhook_config_file: str = option("a kubeconfig of a server that audit events are sent to", path=True)
    token_auth_file: str = option('tokens and whose they are, as CSV: token,user,uid,"groups"', path=True)
    authentication_config: str = option(
        "an AuthenticationConfiguration: outside issuers, and where to be anonymous", path=True
    )
    oidc_issuer_url: str = option("an OpenID Connect issuer whose users are let in")
    oidc_client_id: str = option("the audience that its tokens must be for")
    oidc_username_claim: str = option("what the user is called by", "sub")
    oidc_username_prefix: str = option("put before the name; - for nothing (default: the issuer's URL and #)")
    oidc_groups_claim: str = option("the claim that names a user's groups")
    oidc_groups_prefix: str = option("put before each group")
    oidc_required_claim: str = option("claims that must be there, as KEY=VALUE,KEY=VALUE")
    oidc_signing_algs: str = option("the algorithms that count, comma-separated", "RS256")
    oidc_ca_file: str = option("the authority of the issuer's server (default: this machine's)", path=True)
    authentication_token_webhook_config_file: str = option("a kubeconfig of a server that knows tokens", path=True)
    authorization_config: str = option("an AuthorizationConfiguration: who decides what, in which order", path=True)
    authorization_webhook_config_file: str = option("a kubeconfig of a server that may allow more than RBAC", path=True)
    requestheader_client_ca_file: str = option("the authority of front proxies, which say who a user is", path=True)
    requestheader_allowed_names: str = option("common names of front proxies, comma-separated (default: any)")
    enable_admission_plugins: str = option("further admission plugins, comma-separated")
    disable_admission_plugins: str = option("admission plugins to leave out, comma-separated")
    admission_control_config_file: str = option("an AdmissionConfiguration: what plugins are told", path=True)
    encrypt_secrets: bool = option("encrypt Secrets on disk; new clusters do, unless told not to", False)


NEW_CLUSTER = ServerOptions(encrypt_secrets=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("options of the API server, kept until they are changed")
    for one in fields(ServerOptions):
        flag, text = f"--{one.name.replace('_', '-')}", one.metadata["help"]
        if isinstance(one.default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
            continue
        kind = absolute if one.metadata["path"] else type(one.default)
        default = f" (default {one.default})" if one.default else ""
        group.add_argument(flag, type=kind, help=text + default)


def chosen(args: argparse.Namespace, known: ServerOptions) -> ServerOptions:
    given = {one.name: getattr(args, one.name) for one in fields(ServerOptions)}
    return replace(known, **{name: value for name, value in given.items() if value is not None})


def words(text: str) -> tuple[str, ...]:
    """Of an option that is a comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
