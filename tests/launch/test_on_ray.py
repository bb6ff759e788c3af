import pytest

from offline_mbrl.errors import UserError
from offline_mbrl.launch.on_ray import RayOptions, _probe, _slots
from tests.launch.clusters import free_port


def test_slots_are_what_the_scarcer_resource_has_room_for() -> None:
    cluster = {"CPU": 16.0, "GPU": 4.0}
    assert _slots(cluster, RayOptions(cpus=2)) == 8
    assert _slots(cluster, RayOptions(cpus=1, gpus=0.5)) == 8
    assert _slots(cluster, RayOptions(cpus=8, gpus=0.5)) == 2


def test_a_cluster_without_room_for_one_job_says_what_it_has() -> None:
    with pytest.raises(UserError, match="has 16 CPU and 0 GPU, which is no room for one job; ask for less with --ray"):
        _slots({"CPU": 16.0}, RayOptions(gpus=1))


def test_an_address_where_nobody_listens_is_named_at_once() -> None:
    port = free_port()
    with pytest.raises(UserError, match=rf"no Ray cluster at 127.0.0.1:{port} \(Connection refused\); start one"):
        _probe(f"127.0.0.1:{port}")
    for address in ("", "auto", "local", f"ray://127.0.0.1:{port}"):
        _probe(address)
