"""Whether the API server's options make sense: better told now than by a process that ends again and again."""

from pathlib import Path

from kybern.aio.clock import SystemClock
from kybern.apiserver.admission.order import check_names
from kybern.apiserver.audit.policy import PolicyError, read_policy
from kybern.apiserver.auth.static_tokens import TokenFileError
from kybern.client.kubeconfig import KubeconfigError
from kybern.cmd.admission_config import configuration
from kybern.cmd.config import Cluster
from kybern.cmd.encryption import EncryptionError, seal_of
from kybern.cmd.outside import outside
from kybern.cmd.remote import remote
from kybern.cmd.server_options import words


def wrong_with(cluster: Cluster) -> str:
    """What is wrong, in a line; empty where nothing is."""
    options = cluster.options
    try:
        if options.audit_policy_file:
            read_policy(Path(options.audit_policy_file).read_bytes())
        elif options.audit_log_path or options.audit_webhook_config_file:
            return "an audit log needs --audit-policy-file, or nothing would be written"
        if options.audit_webhook_config_file:
            remote(Path(options.audit_webhook_config_file))
        outside(cluster, SystemClock())
        configuration(options)
        check_names((*words(options.enable_admission_plugins), *words(options.disable_admission_plugins)))
        seal_of(cluster)
    except OSError as error:
        return f"{error.filename}: {(error.strerror or str(error)).lower()}"
    except (PolicyError, TokenFileError, KubeconfigError, EncryptionError, ValueError) as error:
        return str(error)
    return ""
