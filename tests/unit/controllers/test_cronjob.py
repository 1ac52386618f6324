"""What a CronJob's owner is told of a spec that can never work."""

from kybern.aio.ids import Ids
from kybern.api.batch_v1 import CronJob, CronJobSpec
from kybern.api.meta_v1 import ObjectMeta
from kybern.controllers.cronjob import understood
from kybern.reconcile import Context


class Told(list[tuple[str, str, str]]):
    def event(self, obj: object, type: str, reason: str, message: str) -> None:
        self.append((type, reason, message))


def told(**spec: object) -> list[tuple[str, str, str]]:
    events = Told()
    cronjob = CronJob(metadata=ObjectMeta(name="tick", namespace="default"), spec=CronJobSpec(**spec))  # type: ignore[arg-type]
    assert understood(cronjob, Context(0.0, Ids(1), events)) is None
    return events


def test_a_time_zone_that_is_none_is_told_of_a_suspended_one_too() -> None:
    for suspend in (False, True):
        [(type, reason, message)] = told(schedule="* * * * *", time_zone="Nowhere/Else", suspend=suspend)
        assert (type, reason) == ("Warning", "UnknownTimeZone")
        assert message.startswith('invalid timeZone: "Nowhere/Else": ')


def test_a_schedule_that_is_none_is_told_of_once_it_is_not_suspended() -> None:
    assert told(schedule="never", suspend=True) == []
    [(_, reason, message)] = told(schedule="never")
    assert reason == "UnparseableSchedule" and message.startswith('unparseable schedule: "never" : ')
