"""Every system on the problems that its mechanism claims to solve; the table is in `cases.py`."""

import pytest

from tests.probes.cases import CASES, FEW, Case, Result, label, train

pytestmark = pytest.mark.medium


PARAMETERS = [pytest.param(case, id=label(case), marks=[pytest.mark.slow] if case.slow else []) for case in CASES]


@pytest.mark.parametrize("case", PARAMETERS)
def test_the_mechanism_does_what_it_claims(case: Case) -> None:
    """With it the known answer is reached, without it it is missed."""
    if all(result.claim.holds_for_each(result.seeds) for result in results(case._replace(seeds=FEW))):
        return
    failed = [(r.value, r.seeds.tolist(), r.claim) for r in results(case) if not r.claim.holds(r.seeds)]
    assert not failed


def results(case: Case) -> list[Result]:
    """Of all problems and values."""
    return [result for found in train(case).values() for result in found]
