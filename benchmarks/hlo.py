"""What a compiled program runs, read from XLA's own text: its kernels, the bytes they move, the FLOP of its products.

A kernel is an instruction of the entry or of a loop's body: a fusion, a library call, a copy. Bytes are those of its
operands and results; a slice, a gather and an update in place count what they touch. Caches are not modelled, so on a
CPU, and for what fits a GPU's second-level cache, the bytes are an upper bound. On a CPU a "kernel" is a loop nest.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import nan, prod
from typing import NamedTuple

from jax.stages import Compiled

BYTES = {
    **dict.fromkeys(("pred", "s8", "u8"), 1),
    **dict.fromkeys(("bf16", "f16", "s16", "u16"), 2),
    **dict.fromkeys(("f32", "s32", "u32"), 4),
    **dict.fromkeys(("f64", "s64", "u64", "c64"), 8),
}

FREE = {"parameter", "get-tuple-element", "tuple", "constant", "bitcast", "iota", "after-all", "partition-id"}
"""Instructions that name values and launch nothing."""

CALLS = {"call", "async-start", "conditional"}
"""Instructions that stand for the computations they name; of a conditional every branch is counted."""

SLICES = {"dynamic-slice", "gather", "slice"}
UPDATES = {"dynamic-update-slice": 1, "scatter": 2}
"""Operations that change a part of their first operand, and which operand holds the new values."""


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    shape: str
    op: str
    operands: tuple[str, ...]
    rest: str  # attributes, and metadata


class Kernel(NamedTuple):
    """One launch, and how often the program makes it."""

    name: str
    read: int  # bytes
    written: int  # bytes
    flop: int
    trips: float  # NaN in a loop whose number of trips the compiler does not know

    @property
    def bytes(self) -> int:
        return self.read + self.written


class Cost(NamedTuple):
    """All kernels of a program, those of loops as often as they run; NaN where the compiler does not know how often."""

    kernels: float
    bytes: float
    flop: float

    def over(self, units: float) -> "Cost":
        """The share of one of `units` equal parts, such as gradient steps."""
        return Cost(*(value / units for value in self))


Computations = Mapping[str, Sequence[Instruction]]


def cost(kernels: Iterable[Kernel]) -> Cost:
    """The sum over a program's kernels."""
    rows = [(kernel.trips, kernel.trips * kernel.bytes, kernel.trips * kernel.flop) for kernel in kernels]
    return Cost(*(float(sum(column)) for column in zip(*rows, strict=True))) if rows else Cost(0.0, 0.0, 0.0)


def kernels_of(program: Compiled) -> list[Kernel]:
    """The kernels of a compiled program; as `read_kernels`."""
    return read_kernels(program.as_text() or "")


def read_kernels(text: str) -> list[Kernel]:
    """The kernels of a compiled program's text (`Compiled.as_text()`), those of loops with their number of trips.

    Raises:
      ValueError: it is something else.
    """
    computations, entry = parse(text)
    return list(_walk(computations, entry, 1))


def parse(text: str) -> tuple[Computations, str]:
    """The computations of a module by name, and the name of its entry."""
    found: dict[str, list[Instruction]] = {}
    entry, body = "", []
    for line in text.splitlines():
        if start := re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{\s*$", line):
            body = found[start[2]] = []
            entry = start[2] if start[1] else entry
        elif instruction := _instruction(line.strip()):
            body.append(instruction)
    if not entry:
        raise ValueError("this is not the text of a compiled module: it has no ENTRY")
    return found, entry


def size(shape: str) -> int:
    """Bytes of an array or a tuple of arrays, as XLA writes its shape."""
    arrays = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", shape)
    return sum(BYTES.get(kind, 0) * prod(_numbers(dims)) for kind, dims in arrays)


def _instruction(line: str) -> Instruction | None:
    match = re.match(r"(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$", line)
    if not match:
        return None
    name, shape, op, tail = match.groups()
    operands = _until_closed(tail)
    return Instruction(name, shape, op, tuple(re.findall(r"%([\w.\-]+)", operands)), tail[len(operands) :])


def _until_closed(text: str) -> str:
    """What stands before the parenthesis that closes one opened before `text`."""
    depth = 1
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return text[:place]
    return text


def _walk(computations: Computations, name: str, trips: float) -> Iterator[Kernel]:
    shapes = {instruction.name: instruction.shape for instruction in computations[name]}
    for instruction in computations[name]:
        if instruction.op == "while":
            yield from _walk(computations, _named(instruction, "body")[0], trips * _trip_count(instruction))
        elif instruction.op in CALLS:
            for called in _named(instruction, "to_apply|calls|branch_computations|true_computation|false_computation"):
                yield from _walk(computations, called, trips)
        elif instruction.op not in FREE:
            yield _kernel(computations, shapes, instruction, trips)


def _trip_count(loop: Instruction) -> float:
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest)
    return int(known[1]) if known else nan


def _kernel(computations: Computations, shapes: Mapping[str, str], instruction: Instruction, trips: float) -> Kernel:
    if instruction.op == "fusion":
        body = computations[_named(instruction, "calls")[0]]
    else:
        # An instruction that is not fused, as a fusion of one.
        body = [Instruction(name, shapes[name], "parameter", (), "") for name in dict.fromkeys(instruction.operands)]
        body = [*body, instruction]
    return Kernel(instruction.name, _read(body), _written(body), _flop(computations, body), trips)


def _read(body: Sequence[Instruction]) -> int:
    """Bytes that a kernel reads of its parameters."""
    origin, uses = _origins(body), dict[str, list[tuple[Instruction, int]]]()
    for instruction in body:
        if instruction.op != "bitcast":
            for place, operand in enumerate(instruction.operands):
                uses.setdefault(origin.get(operand, operand), []).append((instruction, place))
    return sum(_taken(item, uses.get(item.name, [])) for item in body if item.op == "parameter")


def _taken(parameter: Instruction, uses: Sequence[tuple[Instruction, int]]) -> int:
    """Bytes read of a parameter: parts where only parts are looked at, nothing of what is only written to."""
    whole = size(parameter.shape)
    if not uses or not all(place == 0 and user.op in SLICES | UPDATES.keys() for user, place in uses):
        return whole
    return min(whole, sum(size(user.shape) for user, _ in uses if user.op in SLICES))


def _written(body: Sequence[Instruction]) -> int:
    """Bytes that a kernel writes; of an array changed in place those that change."""
    by_name, origin, root = {item.name: item for item in body}, _origins(body), body[-1]
    outputs = root.operands if root.op == "tuple" else (root.name,)
    return sum(_stored(by_name, by_name[origin.get(name, name)]) for name in outputs)


def _stored(by_name: Mapping[str, Instruction], output: Instruction) -> int:
    if output.op not in UPDATES:
        return size(output.shape)
    return size(by_name[output.operands[UPDATES[output.op]]].shape)


def _origins(body: Sequence[Instruction]) -> dict[str, str]:
    """What each bitcast is another view of."""
    origin: dict[str, str] = {}
    for instruction in body:
        if instruction.op == "bitcast":
            origin[instruction.name] = origin.get(instruction.operands[0], instruction.operands[0])
    return origin


def _flop(computations: Computations, body: Sequence[Instruction]) -> int:
    """2 M N K of every product in a kernel, nested fusions included."""
    shapes, total = {item.name: item.shape for item in body}, 0
    for item in body:
        if item.op == "fusion":
            total += _flop(computations, computations[_named(item, "calls")[0]])
        elif item.op == "dot" or (item.op == "custom-call" and "gemm" in item.rest):
            total += _product(item, shapes[item.operands[0]])
    return total


def _product(dot: Instruction, left: str) -> int:
    named = re.search(r'lhs_contracting_dim(?:s=\{|ensions":\[)([\d,"]*)', dot.rest)
    contracted = _numbers(named[1].replace('"', "")) if named else []
    return 2 * prod(_dims(dot.shape)) * prod(_dims(left)[axis] for axis in contracted)


def _named(instruction: Instruction, attribute: str) -> list[str]:
    """The computations that an attribute names, one or several."""
    lists = re.findall(rf"\b(?:{attribute})=(\{{[^}}]*\}}|%[\w.\-]+)", instruction.rest)
    return [name for text in lists for name in re.findall(r"%([\w.\-]+)", text)]


def _dims(shape: str) -> list[int]:
    """The dimensions of an array, or of the first of a tuple."""
    match = re.search(r"\[([\d,]*)\]", shape)
    return _numbers(match[1]) if match else []


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]
