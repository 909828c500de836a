"""The CPU's kernels: what a step does between its matrix products, in numba.

    floats      float32 and bfloat16 as one
    calls       a kernel is a C function, so that threads without Python run it too; each call does one part of the work
    products    C += A B for tiles of 16 columns
    rows        norms, rotation, activation
    attention   store KV, attend to it where it lies

All in one file: numba keeps compiled kernels, and notices no change of a function in another one.
"""

import ctypes
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.sigutils import normalize_signature
from numba.extending import intrinsic, models, overload, register_model
from numba.np.arrayobj import populate_array
from torch import Tensor

# ---- floats

STORED = {torch.float32: "float32", torch.bfloat16: "uint16"}
"""How a kernel's signature names what it reads and writes."""

LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453


def compiled(signature: str) -> Any:
    """Every type is spelled out: inferred ones would compile again, in the middle of a run."""
    return numba.njit([signature], nogil=True, fastmath=True, error_model="numpy", cache=True)


def widen(stored: Any) -> Any:
    """What is stored, as a float32."""
    raise NotImplementedError("only numba kernels call this")


@overload(widen, inline="always")
def _widen(stored: Any) -> Any:
    def same(stored: Any) -> Any:
        return stored

    def shifted(stored: Any) -> Any:
        return np.uint32(np.uint32(stored) << np.uint32(16)).view(np.float32)

    return same if stored == types.float32 else shifted


def narrow(value: Any, stored: Any) -> Any:
    """A float32 as it is stored beside `stored`; to the nearest, ties to even. NaN is not for here."""
    raise NotImplementedError("only numba kernels call this")


@overload(narrow, inline="always")
def _narrow(value: Any, stored: Any) -> Any:
    def same(value: Any, stored: Any) -> Any:
        return value

    def rounded(value: Any, stored: Any) -> Any:
        bits = np.float32(value).view(np.uint32)
        return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

    return same if stored == types.float32 else rounded


@numba.njit(inline="always")
def in_order(value: Any) -> Any:
    """A number as an int32 that compares as it does: numba vectorizes the largest of integers, not of floats.

    Its own inverse on the bits: see largest().
    """
    bits = np.float32(value).view(np.int32)
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@numba.njit(inline="always")
def largest(values: Any) -> Any:
    """Of a float32 array."""
    most = in_order(values[0])
    for i in range(len(values)):
        most = max(most, in_order(values[i]))
    return np.int32(most ^ ((most >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


@numba.njit(inline="always", fastmath=True)
def exp2(x: Any) -> Any:
    """2^x for a float32 of -126 to 127, within 2e-7 of it.

    A call of the library's would take as long as a dot product. So 2^x = 2^k 2^f with k the nearest integer: 2^k is k
    written into a float's exponent bits, 2^f the Taylor series to f^6 for |f| <= 1/2, and all of it vectorizes.
    """
    # What the conversion cuts off is positive. 127 leaves as an integer: as a float, fastmath would take it to x.
    k = np.int32(np.int32(x + np.float32(127.5)) - np.int32(127))
    f = (x - np.float32(k)) * np.float32(LN_2)
    series = np.float32(1 / 120) + f * np.float32(1 / 720)
    series = np.float32(1 / 6) + f * (np.float32(1 / 24) + f * series)
    series = np.float32(1) + f * (np.float32(1) + f * (np.float32(1 / 2) + f * series))
    return series * np.int32(np.int32(k + np.int32(127)) << np.int32(23)).view(np.float32)


# ---- calls

FLOAT, INT32, WORD = ir.FloatType(), ir.IntType(32), ir.IntType(64)


class Call(types.Type):
    """What a kernel is called with: the address of words of 8 bytes, which say

    how many parts were taken already, how many there are, where each begins and the last one ends, and the arguments:
    an array's address and sizes, an integer, a float's bits as a double.
    """

    def __init__(self, arguments: str, stored: str) -> None:
        self.arguments, _ = normalize_signature(f"void({arguments.replace('S', stored)})")
        super().__init__(f"Call({self.arguments})")


register_model(Call)(models.OpaqueModel)


def _open(_: Any, call: Any) -> Any:
    """Takes the next part of a call: its number, its first item, the item after its last, and the call's arguments.

    A part that nobody has taken yet; where there is none left, no items.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        words = builder.bitcast(values[0], WORD.as_pointer())

        def word(at: Any) -> Any:
            return builder.load(builder.gep(words, [at if isinstance(at, ir.Value) else WORD(at)]))

        taken = builder.atomic_rmw("add", words, WORD(1), "monotonic")
        parts = word(1)
        left = builder.icmp_signed("<", taken, parts)
        part = builder.select(left, taken, WORD(0))
        first = word(builder.add(part, WORD(2)))
        end = builder.select(left, word(builder.add(part, WORD(3))), first)
        at, results = builder.add(parts, WORD(3)), [part, first, end]
        for kind in call.arguments:
            value = word(at)
            at = builder.add(at, WORD(1))
            if isinstance(kind, types.Array):
                shape = [word(builder.add(at, WORD(i))) for i in range(kind.ndim)]
                at = builder.add(at, WORD(kind.ndim))
                value = _array_at(context, builder, kind, value, shape)
            elif kind == types.float32:
                value = builder.fptrunc(builder.bitcast(value, ir.DoubleType()), FLOAT)
            results.append(value)
        return context.make_tuple(builder, signature.return_type, results)

    return types.Tuple([types.int64] * 3 + list(call.arguments))(call), generate


opened: Any = intrinsic(_open)


def _array_at(context: Any, builder: Any, kind: Any, address: Any, shape: Sequence[Any]) -> Any:
    array = context.make_array(kind)(context, builder)
    size = WORD(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [size]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    data = builder.inttoptr(address, context.get_data_type(kind.dtype).as_pointer())
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return array._getvalue()


Words = ctypes.Array[ctypes.c_int64]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel for one way of storing elements, and what it is called with: arrays' dtypes and dimensions, numbers."""

    function: Any
    arguments: tuple[tuple[torch.dtype, int] | type, ...]

    def call(self, edges: Sequence[int], *arguments: Tensor | int | float) -> Words:
        """The words; the arguments must outlive them. edges: where each part of the items begins, and the last ends.

        Errors: TypeError where an argument is not what the kernel reads; it would read other memory.
        """
        words = [0, len(edges) - 1, *edges]
        for expected, given in zip(self.arguments, arguments, strict=True):
            if isinstance(given, Tensor):
                if expected != (given.dtype, given.dim()) or not given.is_contiguous():
                    raise TypeError(f"a kernel was given {given.dtype}, {given.shape}; it reads {expected}, contiguous")
                words += (given.data_ptr(), *given.shape)
            elif expected is int:
                words.append(given)  # type: ignore[arg-type]
            elif expected is float:
                words.append(struct.unpack("q", struct.pack("d", given))[0])
            else:
                raise TypeError(f"a kernel was given {given!r}; it reads {expected}")
        return (ctypes.c_int64 * len(words))(*words)


TORCH = {
    types.uint16: torch.bfloat16,
    types.float32: torch.float32,
    types.int32: torch.int32,
    types.int64: torch.int64,
}


def kernel(arguments: str) -> Callable[[Callable[[Any], None]], dict[torch.dtype, Kernel]]:
    """Compiled for each way of storing an element, S in the arguments.

    Every type is spelled out: inferred ones would compile again, in the middle of a run, for a batch of one row.
    """

    def one(function: Callable[[Any], None], stored: str) -> Kernel:
        call = Call(arguments, stored)
        made = numba.cfunc(types.void(call), fastmath=True, error_model="numpy", cache=True)(function)
        c_function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(made.address)  # type: ignore[arg-type]
        return Kernel(c_function, tuple(_given_as(kind) for kind in call.arguments))

    return lambda function: {dtype: one(function, stored) for dtype, stored in STORED.items()}


def _given_as(kind: Any) -> tuple[torch.dtype, int] | type:
    if isinstance(kind, types.Array):
        return TORCH[kind.dtype], kind.ndim
    return float if kind == types.float32 else int


def flat_rows(tensor: Tensor) -> tuple[Tensor, int]:
    """All rows of a tensor [rows, ...] whose rows are contiguous, as one flat one, and from one row to the next in it.

    numba vectorizes over an array that it knows to be contiguous, and has no name for one that is so by rows.
    """
    rows, stride = len(tensor), tensor.stride(0)
    length = (rows - 1) * stride + tensor[0].numel() if rows else 0
    return tensor.as_strided((length,), (1,)), stride


# ---- products

LANES = 16
VECTOR = ir.VectorType(FLOAT, LANES)


def _product_of(height: int) -> Callable[..., None]:
    """C [height, 16] += A [height, length] B [length, 16].

    a, b, c: one-dimensional arrays; a_at, b_at, c_at: where the tile begins in each; a_step, b_step, c_step: from one
    row of it to the next. a, c float32; b float32 or, as uint16, bfloat16.
    """

    @intrinsic
    def product(
        _: Any,
        a: Any,
        a_at: Any,
        a_step: Any,
        b: Any,
        b_at: Any,
        b_step: Any,
        c: Any,
        c_at: Any,
        c_step: Any,
        length: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a_type, _, _, b_type, _, _, c_type, *_ = signature.args
            a_array, a_first, a_row, b_array, b_first, b_row, c_array, c_first, c_row, count = arguments
            a_data, b_data, c_data = (
                context.make_array(kind)(context, builder, array).data
                for kind, array in ((a_type, a_array), (b_type, b_array), (c_type, c_array))
            )
            multiply_add = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), f"llvm.fmuladd.v{LANES}f32"
            )
            rows = [builder.mul(a_row.type(m), a_row) for m in range(height)]
            places = [
                builder.bitcast(
                    builder.gep(c_data, [builder.add(c_first, builder.mul(c_row.type(m), c_row))]), VECTOR.as_pointer()
                )
                for m in range(height)
            ]
            starts = [builder.load(place, align=4) for place in places]
            entry, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
            zero, one = count.type(0), count.type(1)
            builder.cbranch(builder.icmp_signed(">", count, zero), loop, done)

            builder.position_at_end(loop)
            index = builder.phi(count.type)
            sums = [builder.phi(VECTOR) for _ in range(height)]
            column = _load(builder, b_type, b_data, builder.add(b_first, builder.mul(index, b_row)))
            new = []
            for row, total in zip(rows, sums, strict=True):
                factor = builder.load(builder.gep(a_data, [builder.add(a_first, builder.add(row, index))]))
                new.append(builder.call(multiply_add, [_broadcast(builder, factor), column, total]))
            following = builder.add(index, one)
            index.add_incoming(zero, entry)
            index.add_incoming(following, loop)
            for total, start, updated in zip(sums, starts, new, strict=True):
                total.add_incoming(start, entry)
                total.add_incoming(updated, loop)
            builder.cbranch(builder.icmp_signed("<", following, count), loop, done)

            builder.position_at_end(done)
            results = [builder.phi(VECTOR) for _ in range(height)]
            for place, result, start, updated in zip(places, results, starts, new, strict=True):
                result.add_incoming(start, entry)
                result.add_incoming(updated, loop)
                builder.store(result, place, align=4)
            return context.get_dummy_value()

        integer = types.int64
        return types.void(a, integer, integer, b, integer, integer, c, integer, integer, integer), generate

    return product


def _load(builder: Any, array: Any, data: Any, at: Any) -> Any:
    """16 elements as floats."""
    place = builder.gep(data, [at])
    if array.dtype == types.float32:
        return builder.load(builder.bitcast(place, VECTOR.as_pointer()), align=4)
    halves = builder.load(builder.bitcast(place, ir.VectorType(ir.IntType(16), LANES).as_pointer()), align=2)
    wide = builder.zext(halves, ir.VectorType(INT32, LANES))
    sixteen = ir.Constant(ir.VectorType(INT32, LANES), [16] * LANES)
    return builder.bitcast(builder.shl(wide, sixteen), VECTOR)


def _broadcast(builder: Any, factor: Any) -> Any:
    single = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), factor, INT32(0))
    return builder.shuffle_vector(single, single, ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES))


_product_1, _product_2, _product_3, _product_4, _product_8, _product_12 = (_product_of(n) for n in (1, 2, 3, 4, 8, 12))


@numba.njit(inline="always")
def product(
    height: Any,
    a: Any,
    a_at: Any,
    a_step: Any,
    b: Any,
    b_at: Any,
    b_step: Any,
    c: Any,
    c_at: Any,
    c_step: Any,
    length: Any,
) -> None:
    """See _product_of; any height, in as few pieces as there are."""
    done = 0
    while done < height:
        left = height - done
        a_row, c_row = a_at + done * a_step, c_at + done * c_step
        if left >= 12:
            _product_12(a, a_row, a_step, b, b_at, b_step, c, c_row, c_step, length)
            done += 12
        elif left >= 8:
            _product_8(a, a_row, a_step, b, b_at, b_step, c, c_row, c_step, length)
            done += 8
        elif left >= 4:
            _product_4(a, a_row, a_step, b, b_at, b_step, c, c_row, c_step, length)
            done += 4
        elif left == 3:
            _product_3(a, a_row, a_step, b, b_at, b_step, c, c_row, c_step, length)
            done += 3
        elif left == 2:
            _product_2(a, a_row, a_step, b, b_at, b_step, c, c_row, c_step, length)
            done += 2
        else:
            _product_1(a, a_row, a_step, b, b_at, b_step, c, c_row, c_step, length)
            done += 1


# ---- rows


@numba.njit(inline="always")
def norm_row(x: Any, weight: Any, eps: Any, out: Any) -> None:
    squares = np.float32(0)
    for i in range(len(x)):
        value = widen(x[i])
        squares += value * value
    scale = np.float32(1) / np.sqrt(squares / np.float32(len(x)) + eps)
    for i in range(len(x)):
        out[i] = narrow(widen(x[i]) * scale * widen(weight[i]), weight[i])


@kernel("S[:,::1], S[::1], float32, S[:,::1]")
def rms_norm(call: Any) -> None:
    _, low, high, x, weight, eps, out = opened(call)
    for row in range(low, high):
        norm_row(x[row], weight, eps, out[row])


@kernel("S[:,::1], S[:,::1], S[::1], float32, S[:,::1]")
def add_rms_norm(call: Any) -> None:
    """residual += x, and its norm."""
    _, low, high, x, residual, weight, eps, out = opened(call)
    for row in range(low, high):
        added, total = x[row], residual[row]
        for i in range(len(total)):
            total[i] = narrow(widen(total[i]) + widen(added[i]), added[i])
        norm_row(total, weight, eps, out[row])


@kernel("S[::1], int64, int64, S[::1], float32")
def norm_heads(call: Any) -> None:
    """RMSNorm of each head, in place. Row r begins at r * stride."""
    _, low, high, x, stride, heads, weight, eps = opened(call)
    dim = len(weight)
    for row in range(low, high):
        for head in range(heads):
            first = row * stride + head * dim
            norm_row(x[first : first + dim], weight, eps, x[first : first + dim])


@kernel("S[::1], int64, int64, int64[::1], float32[:,::1], float32[:,::1]")
def rotate(call: Any) -> None:
    """Turn each head, in place. Row r begins at r * stride."""
    _, low, high, x, stride, heads, positions, cos, sin = opened(call)
    half = cos.shape[1]
    for row in range(low, high):
        c, s = cos[positions[row]], sin[positions[row]]
        for head in range(heads):
            middle = row * stride + 2 * head * half + half
            ones, others = x[middle - half : middle], x[middle : middle + half]
            for i in range(half):
                one, other = widen(ones[i]), widen(others[i])
                ones[i] = narrow(one * c[i] - other * s[i], ones[0])
                others[i] = narrow(other * c[i] + one * s[i], others[0])


@kernel("S[:,::1], S[:,::1]")
def silu_mul(call: Any) -> None:
    """silu(x) = x / (1 + e^-x)."""
    _, low, high, gate_up, out = opened(call)
    width = out.shape[1]
    for row in range(low, high):
        for i in range(width):
            gate, up = widen(gate_up[row, i]), widen(gate_up[row, width + i])
            power = min(max(gate * np.float32(-LOG2_E), np.float32(-126)), np.float32(126))
            out[row, i] = narrow(gate / (np.float32(1) + exp2(power)) * up, gate_up[row, i])


# ---- attention
#
# A block of keys lies transposed, [kv heads, head_dim, slots], so that a query's scores for 16 tokens are one vector; a
# block of values lies [kv heads, slots, head_dim]. slots: block_size, rounded up to LANES.


@kernel("S[::1], S[::1], int64, S[::1], S[::1], int64, int64, int64, int64, int64[::1]")
def store_tokens(call: Any) -> None:
    """keys, values: token t's heads begin at t * stride. slots [T]: block * block_size + offset, where each goes."""
    _, low, high, keys, values, stride, key_pages, value_pages, kv_heads, dim, block_size, slots_a_block, slots = (
        opened(call)
    )
    for token in range(low, high):
        block, offset = slots[token] // block_size, slots[token] % block_size
        for head in range(kv_heads):
            page = (block * kv_heads + head) * dim * slots_a_block
            first = token * stride + head * dim
            for d in range(dim):
                key_pages[page + d * slots_a_block + offset] = keys[first + d]
            for d in range(dim):
                value_pages[page + offset * dim + d] = values[first + d]


@compiled("void(float32[::1], int64, int64, int64, int64, int64)")
def hide_unseen(scores: Any, row: Any, seen: Any, blocks: Any, block_size: Any, slots_a_block: Any) -> None:
    """Columns of scores[row:] that are no token, or one that is not seen, become so low that their power is nothing."""
    for b in range(blocks if slots_a_block > block_size else 0):
        for slot in range(block_size, slots_a_block):
            scores[row + b * slots_a_block + slot] = np.float32(-1e30)
    whole = seen // block_size
    for b in range(whole, blocks):
        for slot in range(seen - b * block_size if b == whole else 0, block_size):
            scores[row + b * slots_a_block + slot] = np.float32(-1e30)


@compiled("float32(float32[::1])")
def power_all(scores: Any) -> Any:
    """Scores become 2^(score - largest); returns 1 / their sum."""
    most = largest(scores)
    for t in range(len(scores)):
        x = scores[t] - most
        scores[t] = exp2(x if x > np.float32(-126) else np.float32(-126))
    total = np.float32(0)
    for t in range(len(scores)):
        total += scores[t]
    return np.float32(1) / total


@kernel(
    "S[::1], int64, S[::1], S[::1], int64, int64, int64, int64, int64, int32[::1], int32[::1], int32[::1], int32[::1], "
    "int32[:,::1], float32[:,::1], float32[:,::1], float32[:,::1], S[:,:,::1]"
)
def attend_tiles(call: Any) -> None:
    """A tile is tile_counts[i] rows of queries from tile_rows[i] on, of one sequence, at positions from
    tile_positions[i] on; each row sees the tokens of its sequence up to its own position.

    queries: row r begins at r * stride; out [T, heads, head_dim]. Scratch of each part, for the largest tile of R rows
    and a context of C tokens, rounded up to blocks of slots: scaled, sums [kv heads * R * group * head_dim], scores
    [kv heads * R * group * C].
    """
    (
        part,
        low,
        high,
        queries,
        stride,
        key_pages,
        value_pages,
        kv_heads,
        group,
        dim,
        block_size,
        slots_a_block,
        tile_rows,
        tile_counts,
        tile_sequences,
        tile_positions,
        tables,
        all_scaled,
        all_scores,
        all_sums,
        out,
    ) = opened(call)
    scaled, scores, sums = all_scaled[part], all_scores[part], all_sums[part]
    scale = np.float32(LOG2_E / math.sqrt(dim))
    for i in range(low, high):
        first_row, rows, first_position = np.int64(tile_rows[i]), np.int64(tile_counts[i]), np.int64(tile_positions[i])
        table = tables[tile_sequences[i]]
        blocks = (first_position + rows + block_size - 1) // block_size
        height, width = rows * group, blocks * slots_a_block
        for head in range(kv_heads):
            for r in range(rows):
                first = (first_row + r) * stride + head * group * dim
                place = (head * height + r * group) * dim
                for d in range(group * dim):
                    scaled[place + d] = widen(queries[first + d]) * scale
        scores[: kv_heads * height * width] = np.float32(0)
        sums[: kv_heads * height * dim] = np.float32(0)
        for b in range(blocks):
            for head in range(kv_heads):
                page = (np.int64(table[b]) * kv_heads + head) * dim * slots_a_block
                for lane in range(0, slots_a_block, LANES):
                    place = head * height * width + b * slots_a_block + lane
                    product(
                        height,
                        scaled,
                        head * height * dim,
                        dim,
                        key_pages,
                        page + lane,
                        slots_a_block,
                        scores,
                        place,
                        width,
                        dim,
                    )
        for head in range(kv_heads):
            for r in range(rows):
                seen = first_position + r + 1
                for g in range(group):
                    m = r * group + g
                    row = (head * height + m) * width
                    hide_unseen(scores, row, seen, blocks, block_size, slots_a_block)
                    inverse = power_all(scores[row : row + width])
                    place = (head * height + m) * dim
                    for d in range(dim):
                        scaled[place + d] = inverse
        for b in range(blocks):
            tokens = min(block_size, first_position + rows - b * block_size)
            for head in range(kv_heads):
                page = (np.int64(table[b]) * kv_heads + head) * dim * slots_a_block
                for lane in range(0, dim - LANES + 1, LANES):
                    product(
                        height,
                        scores,
                        head * height * width + b * slots_a_block,
                        width,
                        value_pages,
                        page + lane,
                        dim,
                        sums,
                        head * height * dim + lane,
                        dim,
                        tokens,
                    )
                for d in range(dim - dim % LANES, dim):
                    for m in range(height):
                        total = np.float32(0)
                        weights = (head * height + m) * width + b * slots_a_block
                        for t in range(tokens):
                            total += scores[weights + t] * widen(value_pages[page + t * dim + d])
                        sums[(head * height + m) * dim + d] += total
        for head in range(kv_heads):
            for m in range(height):
                place = (head * height + m) * dim
                row, query_head = first_row + m // group, head * group + m % group
                for d in range(dim):
                    out[row, query_head, d] = narrow(sums[place + d] * scaled[place + d], out[row, query_head, d])
