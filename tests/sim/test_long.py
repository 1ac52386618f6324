"""Goal: weeks pass in seconds. Method: virtual time; nodes that report once an hour, watches that nothing disturbs."""

from kybern.api.batch_v1 import CronJob, Job
from kybern.testing import virtual
from kybern.testing.cluster import running
from kybern.testing.objects import made

MONTH = 30 * 86400.0


def test_a_month_of_cron_jobs() -> None:
    async def main() -> tuple[dict[str, str], int]:
        async with running(("n1",), beat_seconds=3600.0) as cluster:
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
