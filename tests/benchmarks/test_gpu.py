"""A GPU that is described: the model of its time, and what is said where nothing can be compiled for it."""

import gpu
import pytest
import throughput
from gpu import GPUS, LAUNCH, get_gpu, predict
from hlo import Kernel
from throughput import Options, main

from offline_mbrl.errors import UserError


def test_a_kernel_takes_its_launch_its_traffic_or_its_arithmetic() -> None:
    card = GPUS["h200"]
    small = Kernel("small", read=100, written=0, flop=0, trips=10)
    wide = Kernel("wide", read=3 * 10**9, written=10**9, flop=0, trips=2)
    deep = Kernel("deep", read=0, written=0, flop=10**12, trips=1)
    assert predict(card, [small]) == pytest.approx(10 * LAUNCH)
    assert predict(card, [wide]) == pytest.approx(2 * 4e9 / (0.83 * 4.8e12))
    assert predict(card, [deep]) == pytest.approx(1e12 / (0.2 * 494.7e12))
    assert predict(card, [small, wide, deep]) == pytest.approx(sum(predict(card, [k]) for k in (small, wide, deep)))


def test_an_unknown_card_is_refused() -> None:
    with pytest.raises(UserError, match="unknown described GPU 'h20'"):
        get_gpu("h20")


def test_without_the_compiler_one_line_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'offline-mbrl\[cuda\]'"):
        main(Options(parts=("kernels",)))


def test_kernels_stand_alone() -> None:
    with pytest.raises(UserError, match="ask for them alone"):
        main(Options(parts=("systems", "kernels")))


def test_the_ceilings_of_a_described_card_are_its_makers(monkeypatch: pytest.MonkeyPatch) -> None:
    about = throughput.described_ceilings(Options(gpu="a100"))
    assert about["matrix_product_gflops"] == 156_000
    assert about["device"].startswith("NVIDIA A100")
