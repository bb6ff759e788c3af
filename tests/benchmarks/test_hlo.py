"""Kernels, bytes and FLOP of a program: of one written by hand, and of one that XLA compiled."""

from math import isnan

import jax
import jax.numpy as jnp
import pytest
from flops import count_flops
from hlo import Cost, Kernel, cost, kernels_of, read_kernels, size

LOOP = """\
HloModule jit_f, is_scheduled=true

%fused_slice (p0: f32[100,8], p1: s32[], p2: f32[8]) -> f32[8] {
  %p0 = f32[100,8]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %p2 = f32[8]{0} parameter(2)
  %zero = s32[] constant(0)
  %view = f32[100,8]{1,0} bitcast(%p0)
  %row = f32[1,8]{1,0} dynamic-slice(%view, %p1, %zero), dynamic_slice_sizes={1,8}
  %flat = f32[8]{0} bitcast(%row)
  ROOT %sum = f32[8]{0} add(%flat, %p2)
}

%fused_write (q0: f32[100,8], q1: f32[1,8], q2: s32[]) -> f32[100,8] {
  %q0 = f32[100,8]{1,0} parameter(0)
  %q1 = f32[1,8]{1,0} parameter(1)
  %q2 = s32[] parameter(2)
  %nil = s32[] constant(0)
  ROOT %put = f32[100,8]{1,0} dynamic-update-slice(%q0, %q1, %q2, %nil)
}

%body (a: (s32[], f32[100,8], f32[8])) -> (s32[], f32[100,8], f32[8]) {
  %a = (s32[], f32[100,8]{1,0}, /*index=2*/f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%a), index=0
  %ring = f32[100,8]{1,0} get-tuple-element(%a), index=1
  %x = f32[8]{0} get-tuple-element(%a), index=2
  %new = f32[8]{0} fusion(%ring, %i, %x), kind=kLoop, calls=%fused_slice
  %as_row = f32[1,8]{1,0} bitcast(%new)
  %kept = f32[100,8]{1,0} fusion(%ring, %as_row, %i), kind=kLoop, calls=%fused_write
  ROOT %t = (s32[], f32[100,8]{1,0}, f32[8]{0}) tuple(%i, %kept, %new)
}

%done (b: (s32[], f32[100,8], f32[8])) -> pred[] {
  %b = (s32[], f32[100,8]{1,0}, f32[8]{0}) parameter(0)
  ROOT %no = pred[] constant(false)
}

ENTRY %main (s: s32[], r: f32[100,8], x0: f32[8], m: f32[8,4]) -> f32[1,4] {
  %s = s32[] parameter(0)
  %r = f32[100,8]{1,0} parameter(1)
  %x0 = f32[8]{0} parameter(2)
  %m = f32[8,4]{1,0} parameter(3)
  %start = (s32[], f32[100,8]{1,0}, f32[8]{0}) tuple(%s, %r, %x0)
  %loop = (s32[], f32[100,8]{1,0}, f32[8]{0}) while(%start), condition=%done, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %end = f32[8]{0} get-tuple-element(%loop), index=2
  %line = f32[1,8]{1,0} bitcast(%end)
  ROOT %y = f32[1,4]{1,0} dot(%line, %m), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""  # noqa: E501, as XLA writes it


def test_slices_and_updates_in_place_count_what_they_touch() -> None:
    new, kept, product = read_kernels(LOOP)
    assert new == Kernel("new", read=32 + 4 + 32, written=32, flop=0, trips=5)
    assert kept == Kernel("kept", read=0 + 32 + 4, written=32, flop=0, trips=5)
    assert product == Kernel("y", read=32 + 128, written=16, flop=2 * 8 * 4, trips=1)


def test_a_loop_costs_as_often_as_it_runs() -> None:
    assert cost(read_kernels(LOOP)) == Cost(2 * 5 + 1, 5 * (100 + 68) + 176, 64)
    assert Cost(10, 50, 100).over(5) == Cost(2, 10, 20)


def test_a_loop_of_unknown_length_costs_no_number() -> None:
    total = cost(read_kernels(LOOP.replace("known_trip_count", "nothing")))
    assert isnan(total.kernels)


def test_a_library_call_for_a_product_counts_as_one() -> None:
    call = LOOP.replace(
        "dot(%line, %m), lhs_contracting_dims={1}, rhs_contracting_dims={0}",
        'custom-call(%line, %m), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":'
        '{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}',
    )
    assert read_kernels(call)[-1].flop == 2 * 8 * 4


def test_sizes_of_tuples_add_up() -> None:
    assert size("(f32[2,3]{1,0}, bf16[4]{0}, pred[])") == 24 + 8 + 1


def test_other_text_is_refused() -> None:
    with pytest.raises(ValueError, match="has no ENTRY"):
        read_kernels("nothing")


@pytest.mark.medium
def test_a_compiled_program_has_the_flop_that_its_shapes_have() -> None:
    def program(x: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, length=6)[0]

    x, w = jnp.ones((64, 32)), jnp.ones((32, 32))
    total = cost(kernels_of(jax.jit(program).lower(x, w).compile()))
    assert total.flop == count_flops(program, x, w) == 6 * 2 * 64 * 32 * 32
    assert total.bytes >= 6 * (2 * x.nbytes + w.nbytes)
