import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.launch.suite import Suite, jobs
from offline_mbrl.tasks import ROBOTS, TASKS, get_robot, get_task
from offline_mbrl.training.job import make_job


@pytest.mark.parametrize("task", TASKS)
def test_every_task_answers_to_d4rls_name_too(task: str) -> None:
    names = (task, f"{task}-v2", task.upper(), f"{task.replace('-', '_')}-V2", f"{task}-v2".replace("-", "_"))
    assert [get_task(name) for name in names] == [TASKS[task]] * len(names)


@pytest.mark.parametrize("name", ["HalfCheetah", "halfcheetah"])
def test_a_robots_letter_case_does_not_matter(name: str) -> None:
    assert get_robot(name) is ROBOTS["halfcheetah"]


@pytest.mark.parametrize("version", ["v0", "V1"])
def test_older_versions_say_what_is_offered(version: str) -> None:
    offer = f"means D4RL's v2 here; .* name the task hopper-medium-replay .* --source d4rl-{version.lower()}$"
    with pytest.raises(UserError, match=offer):
        get_task(f"hopper_medium-replay-{version}")


@pytest.mark.parametrize("name", ["hopper-medium-v3", "hopper-medium-v", "hopper-medium-v2-v2", "hoper-medium-v2"])
def test_other_names_are_unknown_and_the_nearest_is_suggested(name: str) -> None:
    with pytest.raises(UserError, match=f"unknown task '{name}'; did you mean 'hopper-medium'"):
        get_task(name)


def test_job_records_hold_our_own_name() -> None:
    assert make_job("bc", "Hopper_Medium-v2", steps=5000) == make_job("bc", "hopper-medium", steps=5000)
    suite = Suite.model_validate({"tasks": ["Walker2d-Medium-v2"], "steps": 5000, "run": [{"algorithm": "bc"}]})
    assert [job.task for job in jobs(suite)] == ["walker2d-medium"]
