"""Compares sluice's casts with NumPy's and ml_dtypes', for all 36 pairs of dtypes.

Goal: an opinion on the rules that no line of sluice's own code shares.
Method: every 8- and 16-bit value; of F32 and F64 random bits, exponents that the small formats share, what lies halfway
between two values of a small format, and its neighbours. Each goes through F32, as the rule has it: NumPy alone would
round F64 to F16 at once. Two differences are meant, and put right here: ml_dtypes makes NaN of what is too large for
F8_E4M3, where sluice saturates as PyTorch does from 2.13 on; and sluice's NaNs are canonical, with the sign kept.

Usage: casts_check.py CAST_STREAM_PROGRAM
Exit status: 0 equal, 1 not, 77 skipped, for want of NumPy or ml_dtypes.
"""

import subprocess
import sys

try:
    import ml_dtypes
    import numpy
except ImportError as missing:
    print(f"skipped: this Python has no {missing.name}")
    sys.exit(77)

FORMATS = {  # value type, type of the bits, canonical NaN
    "F64": (numpy.float64, numpy.uint64, 0x7FF8000000000000),
    "F32": (numpy.float32, numpy.uint32, 0x7FC00000),
    "F16": (numpy.float16, numpy.uint16, 0x7E00),
    "BF16": (ml_dtypes.bfloat16, numpy.uint16, 0x7FC0),
    "F8_E4M3": (ml_dtypes.float8_e4m3fn, numpy.uint8, 0x7F),
    "F8_E5M2": (ml_dtypes.float8_e5m2, numpy.uint8, 0x7F),
}
SMALL = ["F16", "BF16", "F8_E4M3", "F8_E5M2"]


def all_values(dtype):
    value, bits, _ = FORMATS[dtype]
    return numpy.arange(1 << (8 * bits().itemsize), dtype=bits).view(value)


def halfway():
    """In F64: finite values of the small formats, what is halfway between each and the next, beyond the last too."""
    parts = []
    for dtype in SMALL:
        values = all_values(dtype).astype(numpy.float64)
        values = numpy.sort(values[numpy.isfinite(values) & (values >= 0)])
        values = numpy.append(values, 2 * values[-1] - values[-2])
        parts += [values, (values[:-1] + values[1:]) / 2]
    magnitudes = numpy.concatenate(parts)
    return numpy.concatenate([magnitudes, -magnitudes])


def large_values(dtype, random, count=1 << 20):
    """Values of F32 or F64, where there are too many to take all."""
    value, bits, _ = FORMATS[dtype]
    middles = halfway().astype(value)
    anything = random.integers(0, 1 << 64, count, dtype=numpy.uint64).astype(bits).view(value)
    shared = (random.standard_normal(count) * numpy.exp2(random.uniform(-30, 18, count))).astype(value)
    tiny = (random.standard_normal(count) * numpy.exp2(random.uniform(-152, -120, count))).astype(value)
    corners = [0.0, -0.0, numpy.inf, -numpy.inf, numpy.nan, 448, 464, 465, 57344, 61440, 65504, 65520]
    near = [numpy.nextafter(middles, value(numpy.inf)), numpy.nextafter(middles, value(-numpy.inf))]
    return numpy.concatenate([anything, shared, tiny, numpy.array(corners, value), middles, *near])


def expected(values, source, target):
    value, bits, nan = FORMATS[target]
    if source == target:
        return values.view(bits)
    single = values.astype(numpy.float32)
    result = single.astype(value)
    # By bits, for comparisons in the small types are ml_dtypes' business.
    is_nan = numpy.isnan(single)
    negative = numpy.signbit(single)
    answer = result.view(bits).copy()
    sign = numpy.where(negative, bits(1 << (8 * bits().itemsize - 1)), bits(0))
    if target == "F8_E4M3":
        saturated = numpy.isnan(result.astype(numpy.float32)) & ~is_nan
        answer[saturated] = bits(0x7E) | sign[saturated]
    answer[is_nan] = bits(nan) | sign[is_nan]
    return answer


def main(program):
    numpy.seterr(all="ignore")
    random = numpy.random.default_rng(1)
    failures = 0
    for source in FORMATS:
        values = all_values(source) if source in SMALL else large_values(source, random)
        for target in FORMATS:
            command = [program, source, target]
            output = subprocess.run(command, input=values.tobytes(), stdout=subprocess.PIPE, check=True).stdout
            actual = numpy.frombuffer(output, FORMATS[target][1])
            wanted = expected(values, source, target)
            if len(actual) != len(wanted):
                print(f"{source} to {target}: {len(actual)} elements, not {len(wanted)}")
                failures += 1
                continue
            wrong = numpy.flatnonzero(actual != wanted)
            if len(wrong):
                first = wrong[0]
                element = values.view(FORMATS[source][1])[first]
                print(f"{source} to {target}: {len(wrong)} of {len(wanted)} differ, the first is {element:#x}: ", end="")
                print(f"{actual[first]:#x}, not {wanted[first]:#x}")
                failures += 1
    print(f"{len(FORMATS) ** 2} pairs, {failures} with differences")
    return 1 if failures else 0


sys.exit(main(sys.argv[1]))
