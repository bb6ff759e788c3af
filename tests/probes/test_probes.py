"""Every system on the problems that its mechanism claims to solve; the table is in `cases.py`."""

import pytest

from tests.probes.cases import CASES, FEW, Case, label, train

pytestmark = pytest.mark.medium


PARAMETERS = [pytest.param(case, id=label(case), marks=[pytest.mark.slow] if case.slow else []) for case in CASES]


@pytest.mark.parametrize("case", PARAMETERS)
def test_the_mechanism_does_what_it_claims(case: Case) -> None:
    """With it the known answer is reached, without it it is missed."""
    few = train(case._replace(seeds=FEW))
    if all(result.claim.holds_for_each(result.seeds) for results in few.values() for result in results):
        return
    failed = {
        (name, result.value): (result.seeds.tolist(), result.claim)
        for name, results in train(case).items()
        for result in results
        if not result.claim.holds(result.seeds)
    }
    assert not failed
