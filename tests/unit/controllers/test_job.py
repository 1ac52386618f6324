"""Goal: every pod counts once, and a Job ends as it should. Method: tallies, verdicts and plans by value."""

from typing import Any

import pytest
from msgspec.structs import replace

from kybern.api.batch_v1 import (
    Job,
    JobCondition,
    JobSpec,
    JobStatus,
    PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyRule,
    SuccessPolicy,
    SuccessPolicyRule,
    UncountedTerminatedPods,
)
from kybern.api.core_v1 import ContainerState, ContainerStateTerminated, ContainerStatus, Pod
from kybern.api.meta_v1 import ObjectMeta
from kybern.controllers.job import indexes, new_pod
from kybern.controllers.job.failure import message_for
from kybern.controllers.job.indexes import INDEX
from kybern.controllers.job.plan import Plan, plan
from kybern.controllers.job.tally import FINALIZER, IGNORED_INDEX_FAILURES, INDEX_FAILURES, UNCOUNTED_PODS_MAX, tally
from kybern.controllers.job.verdict import Verdict, decide
from kybern.testing.builders import pod, template

NOW = 1767225700.0  # a hundred seconds after the pods ended
ENDED = "2026-01-01T00:00:00Z"


def job(status: JobStatus | None = None, **spec: Any) -> Job:
    return Job(
        metadata=ObjectMeta(name="work", namespace="default", uid="j"),
        spec=JobSpec(template=template(), **spec),
        status=status or JobStatus(),
    )


def worker(name: str, phase: str = "Running", index: int | None = None, exit_code: int = 1, **meta: Any) -> Pod:
    annotations = {INDEX: str(index)} if index is not None else {}
    annotations |= meta.pop("annotations", {})
    found = pod(name, phase=phase, node="n1", **{"finalizers": (FINALIZER,), "annotations": annotations} | meta)
    if phase != "Failed":
        return found
    ended = ContainerState(terminated=ContainerStateTerminated(exit_code=exit_code, finished_at=ENDED))
    statuses = (ContainerStatus(name="web", state=ended),)
    return replace(found, status=replace(found.status, container_statuses=statuses))


def verdict(found: Job, *pods: Pod) -> Verdict | None:
    return decide(found, tally(found, pods), pods, NOW)


def planned(found: Job, *pods: Pod) -> Plan:
    return plan(found, tally(found, pods), pods, NOW)


@pytest.mark.parametrize("text", ["", "0", "1,2", "0-2,4", "1,3-5,7,8"])
def test_indexes_are_written_as_they_are_read(text: str) -> None:
    assert indexes.format(indexes.parse(text)) == text


def test_a_finished_pod_is_noted_before_it_is_counted() -> None:
    count = tally(job(), [worker("a", "Succeeded")])
    assert count.status.uncounted_terminated_pods == UncountedTerminatedPods(succeeded=("uid-a",))
    assert (count.status.succeeded, count.succeeded) == (None, 1)
    assert [found.metadata.name for found in count.release] == ["a"]


def test_a_noted_pod_without_its_finalizer_is_counted_and_no_longer_noted() -> None:
    noted = JobStatus(succeeded=2, uncounted_terminated_pods=UncountedTerminatedPods(succeeded=("uid-a",)))
    count = tally(job(noted), [worker("a", "Succeeded", finalizers=())])
    assert count.status.uncounted_terminated_pods == UncountedTerminatedPods()
    assert (count.status.succeeded, count.succeeded) == (3, 3)


def test_a_noted_pod_that_is_gone_is_counted() -> None:
    noted = JobStatus(failed=1, uncounted_terminated_pods=UncountedTerminatedPods(failed=("uid-a",)))
    assert tally(job(noted), []).status.failed == 2


def test_a_noted_pod_with_its_finalizer_is_not_counted_twice() -> None:
    noted = JobStatus(uncounted_terminated_pods=UncountedTerminatedPods(succeeded=("uid-a",)))
    count = tally(job(noted), [worker("a", "Succeeded")])
    assert (count.status.succeeded, count.succeeded) == (None, 1)


def test_a_pod_that_is_deleted_has_failed_unless_the_job_waits_for_its_end() -> None:
    leaving = worker("a", deletion_timestamp=ENDED)
    assert tally(job(), [leaving]).failed == 1
    assert tally(job(pod_replacement_policy="Failed"), [leaving]).failed == 0


def test_an_index_succeeds_once() -> None:
    found = job(completion_mode="Indexed", completions=3)
    count = tally(found, [worker("a", "Succeeded", 1), worker("b", "Succeeded", 1), worker("c", "Succeeded", 7)])
    assert (count.status.completed_indexes, count.succeeded) == ("1", 1)


def test_enough_successes_complete_a_job() -> None:
    done = verdict(job(JobStatus(succeeded=3), completions=3))
    assert done is not None and (done.type, done.reason) == ("Complete", "CompletionsReached")


def test_without_completions_one_success_is_enough_once_the_others_have_ended() -> None:
    found = job(JobStatus(succeeded=1), parallelism=2)
    assert verdict(found, worker("a")) is None
    assert verdict(found) is not None


def test_more_failures_than_the_limit_end_a_job() -> None:
    assert verdict(job(JobStatus(failed=2), backoff_limit=2, completions=1)) is None
    over = verdict(job(JobStatus(failed=3), backoff_limit=2, completions=1))
    assert over == Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


def test_what_takes_too_long_ends() -> None:
    late = verdict(job(JobStatus(start_time=ENDED), active_deadline_seconds=60, completions=1))
    assert late is not None and late.reason == "DeadlineExceeded"


def test_what_was_decided_stays_decided() -> None:
    target = JobCondition(type="FailureTarget", status="True", reason="DeadlineExceeded", message="m")
    noted = JobStatus(succeeded=3, conditions=(target,))
    assert verdict(job(noted, completions=3)) == Verdict("Failed", "DeadlineExceeded", "m")


def failing_on(code: int, action: str) -> PodFailurePolicy:
    codes = PodFailurePolicyOnExitCodesRequirement(operator="In", values=(code,))
    return PodFailurePolicy(rules=(PodFailurePolicyRule(action=action, on_exit_codes=codes),))


def test_a_policy_can_fail_the_job_at_once() -> None:
    found = job(completions=1, pod_failure_policy=failing_on(42, "FailJob"))
    failed = worker("a", "Failed", exit_code=42)
    ended = verdict(found, failed)
    assert ended is not None and ended.reason == "PodFailurePolicy"
    assert message_for(found, failed) == (
        "Container web for pod default/a failed with exit code 42 matching FailJob rule at index 0"
    )


def test_a_policy_can_ignore_a_failure() -> None:
    found = job(completions=1, pod_failure_policy=failing_on(42, "Ignore"))
    assert tally(found, [worker("a", "Failed", exit_code=42)]).failed == 0
    assert tally(found, [worker("a", "Failed", exit_code=1)]).failed == 1


def test_each_index_has_its_own_limit() -> None:
    found = job(completion_mode="Indexed", completions=2, backoff_limit_per_index=1)
    first = worker("a", "Failed", 0, annotations={INDEX_FAILURES: "0"})
    second = worker("b", "Failed", 0, annotations={INDEX_FAILURES: "1"})
    assert tally(found, [first]).failed_indexes == set()
    assert tally(found, [first, second]).failed_indexes == {0}
    ended = verdict(found, first, second, worker("c", "Succeeded", 1))
    assert ended is not None and ended.reason == "FailedIndexes"


def test_a_success_policy_ends_a_job_early() -> None:
    policy = SuccessPolicy(rules=(SuccessPolicyRule(succeeded_indexes="0-1", succeeded_count=1),))
    found = job(completion_mode="Indexed", completions=5, success_policy=policy)
    assert verdict(found, worker("a", "Succeeded", 3)) is None
    ended = verdict(found, worker("a", "Succeeded", 1))
    assert ended == Verdict("Complete", "SuccessPolicy", "Matched rules at index 0")


def test_as_many_pods_run_as_are_needed_and_allowed() -> None:
    assert planned(job(completions=5, parallelism=2)) == Plan(create=[-1, -1])
    assert planned(job(JobStatus(succeeded=4), completions=5, parallelism=2)) == Plan(create=[-1])


def test_without_completions_nothing_is_started_after_a_success() -> None:
    assert planned(job(JobStatus(succeeded=1), parallelism=3), worker("a")) == Plan()


def test_free_indexes_are_started_in_order() -> None:
    found = job(completion_mode="Indexed", completions=4, parallelism=4)
    assert planned(found, worker("a", "Succeeded", 0), worker("b", index=2)) == Plan(create=[1, 3])


def test_a_suspended_job_has_no_pods() -> None:
    running = worker("a")
    assert planned(job(suspend=True, completions=1), running) == Plan(delete=[running])


def test_a_second_pod_of_an_index_goes() -> None:
    found = job(completion_mode="Indexed", completions=2, parallelism=2)
    pods = [worker("a", index=0), worker("b", index=0)]
    assert len(planned(found, *pods).delete) == 1


def test_after_a_failure_the_next_pod_waits() -> None:
    failed = [worker(name, "Failed", finalizers=()) for name in "abcde"]
    waiting = planned(job(JobStatus(failed=5), completions=1), *failed)
    assert waiting.create == [] and waiting.wait_seconds == 60.0  # 160 s after the fifth, 100 of which have passed


def test_a_success_ends_a_series_of_failures() -> None:
    failed = [worker(name, "Failed", finalizers=()) for name in "abcde"]
    done = worker("f", "Succeeded", finalizers=(), creation_timestamp="2026-01-01T00:00:01Z")
    assert planned(job(JobStatus(failed=5, succeeded=1), completions=2), *failed, done).create == [-1]


def test_each_index_waits_for_itself() -> None:
    found = job(completion_mode="Indexed", completions=2, parallelism=2, backoff_limit_per_index=9)
    failed = worker("a", "Failed", 0, annotations={INDEX_FAILURES: "4"})
    assert planned(found, failed) == Plan(create=[1], wait_seconds=60.0)


def test_the_last_failed_pod_of_an_index_stays_until_its_successor_is_there() -> None:
    found = job(completion_mode="Indexed", completions=1, backoff_limit_per_index=9)
    first, second = worker("a", "Failed", 0), worker("b", "Failed", 0, annotations={INDEX_FAILURES: "1"})
    count = tally(found, [second, first])
    assert count.release == [first] and count.replaceable == {0: second} and count.failed == 2
    assert new_pod(found, 0, second).metadata.annotations == {INDEX: "0", INDEX_FAILURES: "2"}
    assert tally(found, [second, first, worker("c", index=0)]).release == [second, first]


def test_a_failure_that_is_ignored_is_carried_on_as_such() -> None:
    rule = PodFailurePolicyRule(
        action="Ignore", on_exit_codes=PodFailurePolicyOnExitCodesRequirement(operator="In", values=(1,))
    )
    found = job(
        completion_mode="Indexed",
        completions=1,
        backoff_limit_per_index=1,
        pod_failure_policy=PodFailurePolicy(rules=(rule,)),
    )
    made = new_pod(found, 0, worker("a", "Failed", 0))
    assert made.metadata.annotations == {INDEX: "0", INDEX_FAILURES: "0", IGNORED_INDEX_FAILURES: "1"}


def test_who_still_runs_when_the_job_fails_has_failed() -> None:
    running = [worker("a"), worker("b", "Succeeded"), worker("c", "Failed")]
    count = tally(job(), running, "Failed")
    assert (count.succeeded, count.failed, len(count.release)) == (1, 2, 3)


def test_who_still_runs_when_the_job_is_complete_has_not_failed() -> None:
    count = tally(job(), [worker("a"), worker("b", "Succeeded")], "Complete")
    assert (count.succeeded, count.failed, len(count.release)) == (1, 0, 2)


def test_indexes_beyond_the_completions_no_longer_count() -> None:
    found = job(JobStatus(completed_indexes="0,2-5"), completion_mode="Indexed", completions=3)
    assert tally(found, []).status.completed_indexes == "0,2"


def test_only_so_many_pods_are_noted_at_once() -> None:
    count = tally(job(), [worker(str(number), "Failed") for number in range(UNCOUNTED_PODS_MAX + 20)])
    assert len(count.release) == UNCOUNTED_PODS_MAX


def test_an_indexed_pod_knows_its_index() -> None:
    made = new_pod(job(completion_mode="Indexed", completions=2), 1)
    assert (made.metadata.generate_name, made.spec.hostname) == ("work-1-", "work-1")
    assert [env.name for env in made.spec.containers[0].env or ()] == ["JOB_COMPLETION_INDEX"]
    assert FINALIZER in (made.metadata.finalizers or ())
