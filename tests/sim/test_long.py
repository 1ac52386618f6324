"""Goal: weeks pass in seconds. Method: virtual time; nodes that report four times a day, watches that nothing disturbs."""

from kybern.api.batch_v1 import CronJob, Job
from kybern.api.core_v1 import Secret, ServiceAccount
from kybern.controllers.legacytokens import INVALID_SINCE, LEGACYTOKENS, TRACKING
from kybern.controllers.serviceaccounttokens import ACCOUNT_NAME, ACCOUNT_UID, TYPE
from kybern.testing import virtual
from kybern.testing.cluster import running
from kybern.testing.objects import made

DAY = 86400.0
MONTH = 30 * DAY


def test_a_month_of_cron_jobs() -> None:
    async def main() -> tuple[dict[str, str], int]:
        async with running(("n1",), beat_seconds=6 * 3600.0) as cluster:
            await cluster.advance(5)
            for name, schedule in (("hourly", "0_*_*_*_*"), ("daily", "30_2_*_*_*")):
                await cluster.client.create(made("cronjob", name, {"schedule": schedule, "pod.runs-seconds": "60"}))
            await cluster.advance(MONTH + 300)
            crons = await cluster.client.list(CronJob)
            last = {found.metadata.name or "": found.status.last_schedule_time or "" for found in crons}
            return last, len(await cluster.client.list(Job))

    last, jobs = virtual.run(main())
    assert last == {"hourly": "2026-01-31T00:00:00Z", "daily": "2026-01-30T02:30:00Z"}
    assert jobs == 3 + 3


def test_a_token_that_nobody_has_used_for_a_year_is_marked_and_goes_a_year_later() -> None:
    async def main() -> None:
        async with running((), loops=(LEGACYTOKENS,), beat_seconds=DAY) as cluster:
            create = cluster.client.create
            since = {"namespace": "kube-system", "data.since": "2026-01-01"}
            await create(made("configmap", TRACKING, since))
            account = await create(made("serviceaccount", "robot", {}))
            told = {
                "type": TYPE,
                f"annotations.{ACCOUNT_NAME}": "robot",
                f"annotations.{ACCOUNT_UID}": account.metadata.uid,
            }
            for name in ("made-for-it", "by-hand"):
                await create(made("secret", name, told))
            listed = {"secrets": [{"name": "made-for-it"}]}
            await cluster.client.patch(ServiceAccount, "robot", "default", listed)
            await cluster.advance(365 * DAY)
            assert not (await cluster.client.get(Secret, "made-for-it", "default")).metadata.labels
            await cluster.advance(3 * DAY)
            marked = (await cluster.client.get(Secret, "made-for-it", "default")).metadata.labels or {}
            assert marked[INVALID_SINCE] == "2027-01-02"
            await cluster.advance(367 * DAY)
            assert [secret.metadata.name for secret in await cluster.client.list(Secret, "default")] == ["by-hand"]

    virtual.run(main())
