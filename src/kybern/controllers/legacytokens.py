"""legacy token cleaner: tokens that were once made for every service account, and that nobody has used for a year, go.

First such a Secret is marked invalid, from a day on; if nobody misses it for another year, it is deleted. Only Secrets that
their account lists were made by the cluster; what somebody made himself, or a pod mounts, stays. All of it counts from
when the API server began to note the use of tokens, which a ConfigMap tells.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import chain

from kybern.aio.clock import from_rfc3339
from kybern.api.core_v1 import ConfigMap, Pod, Secret, ServiceAccount
from kybern.api.errors import Conflict, NotFound
from kybern.client import Client, View
from kybern.client.paths import kind_of
from kybern.controllers.serviceaccounttokens import ACCOUNT_NAME, ACCOUNT_UID, TYPE, annotation
from kybern.reconcile import Context, Periodic

EVERY_SECONDS = 24 * 3600.0
UNUSED_DAYS = 365
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"


async def clean(view: View, client: Client, context: Context) -> None:
    today = datetime.fromtimestamp(context.now, UTC).date()
    tracked = await tracked_since(client)
    limit = today - timedelta(days=UNUSED_DAYS)
    if tracked is None or tracked + timedelta(days=1) > limit:
        return
    for secret in [secret for secret in view.list(Secret) if is_unused(secret, limit, view)]:
        meta = secret.metadata
        invalid = day_of((meta.labels or {}).get(INVALID_SINCE))
        try:
            if invalid is None:
                labels = {"metadata": {"uid": meta.uid, "labels": {INVALID_SINCE: today.isoformat()}}}
                await client.patch(Secret, meta.name or "", meta.namespace or "", labels)
            elif invalid < limit:
                await client.delete_kind(
                    kind_of(Secret), meta.name or "", meta.namespace or "", resource_version=meta.resource_version or ""
                )
        except (NotFound, Conflict):
            pass


async def tracked_since(client: Client) -> date | None:
    try:
        found = await client.get(ConfigMap, TRACKING, "kube-system")
    except NotFound:
        return None
    return day_of((found.data or {}).get("since"))


def day_of(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None


def is_unused(secret: Secret, limit: date, view: View) -> bool:
    meta = secret.metadata
    if secret.type != TYPE or meta.deletion_timestamp is not None or not meta.creation_timestamp:
        return False
    created = datetime.fromtimestamp(from_rfc3339(meta.creation_timestamp), UTC).date()
    told = (meta.labels or {}).get(LAST_USED)
    used = day_of(told)
    if created >= limit or (told is not None and used is None) or (used is not None and used >= limit):
        return False
    account = view.get(ServiceAccount, annotation(secret, ACCOUNT_NAME), meta.namespace or "")
    if account is None or annotation(secret, ACCOUNT_UID) not in ("", account.metadata.uid):
        return False
    listed = {ref.name for ref in account.secrets or ()}
    return meta.name in listed and meta.name not in mounted(view.list(Pod, meta.namespace))


def mounted(pods: Iterable[Pod]) -> set[str | None]:
    return {name for pod in pods for name in chain(volume_secrets(pod), variable_secrets(pod), pull_secrets(pod))}


def volume_secrets(pod: Pod) -> Iterator[str | None]:
    for volume in pod.spec.volumes or ():
        if volume.secret is not None:
            yield volume.secret.secret_name
        for source in (volume.projected.sources if volume.projected is not None else None) or ():
            if source.secret is not None:
                yield source.secret.name


def variable_secrets(pod: Pod) -> Iterator[str | None]:
    for container in (*(pod.spec.init_containers or ()), *pod.spec.containers):
        for variable in container.env or ():
            if variable.value_from is not None and variable.value_from.secret_key_ref is not None:
                yield variable.value_from.secret_key_ref.name
        for source in container.env_from or ():
            if source.secret_ref is not None:
                yield source.secret_ref.name


def pull_secrets(pod: Pod) -> Iterator[str | None]:
    return (ref.name for ref in pod.spec.image_pull_secrets or ())


LEGACYTOKENS = Periodic(
    name="legacy-service-account-token-cleaner",
    every_seconds=EVERY_SECONDS,
    reads=(Secret, ServiceAccount, Pod),
    by=clean,
)
