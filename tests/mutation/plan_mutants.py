#!/usr/bin/env python3
"""What the tests of slices are worth: mutants of the arithmetic of plans, each of which a test must notice.

    tests/mutation/plan_mutants.py                 # all of them, in a copy of the tree below build/; an hour or two
    tests/mutation/plan_mutants.py --only placement --only 17
    tests/mutation/plan_mutants.py --check         # only that each mutant still has its place in the sources

Each mutant is a change of a line or so. The tests of plans, then loads on the host, then loads onto simulated GPUs are
built and run until one fails, ends or hangs: the mutant is killed. The exit status is 1 where one survives that no
reason calls equivalent, and where one is killed that a reason calls equivalent.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# (source, what stands there, what stands there in the mutant), then why nobody can tell them apart, if so.
# What stands there must do so once.
MUTANTS = [
    # What a slice takes.
    ("box.cpp", "cut.second > size - cut.first", "cut.second > size"),
    ("box.cpp", "if (cut.first > size ||", "if (cut.first >= size ||"),
    ("box.cpp", "box.begin[cut.dimension] += cut.first;", "box.begin[cut.dimension] = cut.first;"),
    ("box.cpp", "Slice::rest ? size - cut.first : cut.second;", "Slice::rest ? size : cut.second;"),
    ("box.cpp", "if (cut.first >= cut.second)", "if (cut.first > cut.second)"),
    ("box.cpp", "if (size % cut.second != 0)", "if (size < cut.second)"),
    ("box.cpp", "+= cut.first * (size / cut.second);", "= cut.first * (size / cut.second);"),
    ("box.cpp", "+= cut.first * (size / cut.second);", "+= cut.first * cut.second;"),
    ("box.cpp", "slice.dimensions().size() == dimensions;", "slice.dimensions().size() >= dimensions;"),
    ("box.cpp", "&elements) || overflow;", "&elements);"),
    ("box.cpp", "if (cut.dimension >= box.shape.size())", "if (cut.dimension > box.shape.size())"),
    ("box.cpp", "counts.push_back(box.count[dimension])", "counts.push_back(box.shape[dimension])"),
    ("box.cpp", "if (seen != elements_of(shape))", "if (seen < elements_of(shape))"),
    ("slice.cpp", "(box.count[i] - 1) / block[i] + 1", "box.count[i] / block[i]"),
    ("slice.cpp", "blocks.take(i, box.begin[i] / block[i], last)", "blocks.take(i, box.begin[i], last)"),
    ("slice.cpp", "if (box.begin[i] % block[i] != 0)", "if (box.count[i] % block[i] != 0)"),
    # Every element once.
    ("coverage.cpp", "if (boxes_[i].elements() != 0) all", "all"),
    ("coverage.cpp", "if (here_.elements() != 0) sweep", "sweep"),
    ("coverage.cpp", "end_of(box) <= borders[i]", "end_of(box) < borders[i]"),
    ("coverage.cpp", "if (boxes.size() == 1 && is_whole(", "if (boxes.size() <= 2 && is_whole("),
    ("coverage.cpp", "for (std::size_t i = dimension; i < here_", "for (std::size_t i = dimension + 1; i < here_"),
    ("coverage.cpp", "= borders[i + 1] - borders[i];", "= borders[i + 1];"),
    ("coverage.cpp", "    here_.count[dimension] = here_.shape[dimension];\n", ""),
    ("coverage.cpp", "borders = {0, here_.shape[dimension]};", "borders = {0};"),
    # Memory.
    ("destination_check.cpp", "(shape[i] - 1) * destination.strides()[i]", "(shape[i]) * destination.strides()[i]"),
    ("destination_check.cpp", "if (strides[i] < span)", "if (strides[i] <= span)"),
    ("destination_check.cpp", "return strides[a] < strides[b];", "return strides[a] > strides[b];"),
    ("destination_check.cpp", "(shape[i] - 1) * strides[i];", "(shape[i] - 2) * strides[i];"),
    ("destination_check.cpp", "if (destination.memory_bytes() < needed)", "if (destination.memory_bytes() <= needed)"),
    ("destination_check.cpp", "if (address % natural_alignment(destination.dtype()) != 0)", "if (address % 1 != 0)"),
    ("routing.cpp", "begin_of(before) + span_of(before) <= begin_of(number)", "begin_of(before) + span_of(before) < begin_of(number)"),
    ("routing.cpp", "begin_of(before) + span_of(before) <= begin_of(number)", "begin_of(before) <= begin_of(number)"),
    # Routes.
    ("route.cpp", "layout.strides[i - 1] == elements * innermost", "layout.strides[i - 1] == elements"),
    ("route.cpp", "if (elements == 1) innermost = layout.strides[i];", "innermost = layout.strides[i];"),
    ("route.cpp", "strides[--left] = covered * innermost;", "strides[--left] = covered;"),
    ("route.cpp", "(covered < elements || seen[left - 1] == 1)", "covered < elements", "where a dimension of one element lies does not matter"),
    ("route.cpp", "if (covered != elements) return std::nullopt;", ""),
    ("route.cpp", "box.begin[dimension] * strides[dimension]", "box.begin[dimension]"),
    ("route.cpp", "if (box.count[dimension] == 1) continue;", "if (box.shape[dimension] == 1) continue;"),
    ("route.cpp", "loops[j - 1].source_stride < loops[j].source_stride", "loops[j - 1].source_stride > loops[j].source_stride"),
    ("route.cpp", "outer->source_stride == loop.count * loop.source_stride", "true"),
    ("route.cpp", "outer->target_stride == loop.count * loop.target_stride", "true"),
    ("route.cpp", "outer->count * loop.count", "outer->count + loop.count"),
    ("route.cpp", "loops[count - 1].source_stride == 1 && loops[count - 1].target_stride == 1", "loops[count - 1].source_stride == 1"),
    ("route.cpp", "route.target = into.begin;", "route.target = from.begin;"),
    ("route.cpp", "route.source = source + done;", "route.source = source;"),
    ("route.cpp", "- (target + done) % places.even()", "- target % places.even()"),
    ("route.cpp", "layout.strides[i - 1] == even_", "layout.strides[i - 1] >= even_"),
    ("route.cpp", "    index /= layout_.shape[i];\n", ""),
    ("route.cpp", "offset / loop.source_stride, loop.count - 1)", "offset / loop.source_stride, loop.count)"),
    ("route.cpp", "offset >= run_bytes_ ? 1 : 0", "offset > run_bytes_ ? 1 : 0"),
    ("route.cpp", "run.target = target_ + place.target;", "run.target = place.target;"),
    ("route.cpp", "run_at(runs.last).source < end", "run_at(runs.last).source <= end"),
    ("route.cpp", "if (begin > first_begin) runs.cut_off_first = begin - first_begin;", ""),
    ("route.cpp", "if (last_end > end) runs.cut_off_last = last_end - end;", ""),
    ("route.cpp", "(runs.last - 1) / row_count()", "runs.last / row_count()"),
    ("route.cpp", "runs.cut_off_last != 0 && runs.first < runs.last", "runs.cut_off_last != 0"),
    ("route.hpp", "(bits(from) / 8) * (bits(to) / 8)", "(bits(to) / 8) * (bits(from) / 8)"),
    ("route.hpp", "bytes -= (loop.count - 1) * loop.source_stride;", "bytes -= loop.count * loop.source_stride;"),
    ("route.hpp", "index * loops[i].source_stride", "index * loops[i].target_stride"),
    ("route.hpp", "    number /= loops[i].count;\n", ""),
    ("route.hpp", "target_ + delivered_bytes(first, route_.dtype, to_)", "target_ + first"),
    ("route.hpp", "some.target += delivered_bytes(skipped, route_.dtype, to_)", "some.target += skipped"),
    ("route.hpp", "run_bytes_ - skipped - left_out", "run_bytes_ - skipped"),
    ("route.hpp", "only ? runs.cut_off_last : 0", "0 * only"),
    ("route.hpp", "runs.last - (runs.cut_off_last != 0 ? 1 : 0)", "runs.last"),
    ("route.hpp", "in_a_row - runs.first % in_a_row", "in_a_row"),
    ("route.hpp", "some.target_stride = loops_.back().target_stride;", "some.target_stride = loops_.back().source_stride;"),
    ("route.hpp", "take_cut(runs.last - 1, 0", "take_cut(runs.last, 0"),
    ("route.hpp", "a.shard == b.shard && a.begin < b.begin", "a.shard == b.shard && a.end < b.end"),
    # Destinations and rules.
    ("routing.cpp", "path.target = in_bytes(element.target, to);", "path.target = in_bytes(element.target, from);"),
    ("routing.cpp", "in_bytes(loop.target_stride, to)", "in_bytes(loop.target_stride, from)"),
    ("routing.cpp", "route.end += (bytes.count - 1) * bytes.source_stride;", "route.end += bytes.count * bytes.source_stride;"),
    ("selection.cpp", "nth * parts / devices", "nth % parts"),
    ("selection.cpp", "if (devices % parts != 0)", "if (devices < parts)"),
    ("routing.cpp", "route.unit_bytes = cast ? static_cast<std::uint8_t>(from / 8) : 1;", "route.unit_bytes = cast ? 1 : 1;"),
    ("routing.cpp", "if (filled.boxes.size() == 1 &&", "if (!filled.boxes.empty() &&"),
    ("routing.cpp", "fill.stride = route.loops[loops - 1].target_stride * bits_each / 8;", "fill.stride = fill.run_bytes;"),
    ("routing.cpp", "fill.rows = route.loops[loops - 1].count;", "fill.rows = route.loops[loops - 1].count - 1;"),
    ("routing.cpp", "route.target + loop_place(outer, index).target", "route.target"),
    ("routing.cpp", "if (elements * bits_each % 8 == 0) return", "return"),
    ("routing.cpp", "from.elements() * bits(placement.dtype) / 8", "from.elements() * bits(tensor.dtype) / 8"),
    ("routing.cpp", "missing += gap.elements();", "missing = gap.elements();"),
    ("routing.cpp", "if (plain) numbers.push_back(0);", "static_cast<void>(plain);"),
    ("routing.cpp", "std::stable_sort(begin, plan_.routes.end(), comes_before);", ""),
    ("routing.cpp", "if (path.target != 0 || path.loop_count != 0)", "if (path.loop_count != 0)"),
    # Where tensors lie.
    ("placement.cpp", "bytes = placement.arena_offset + placement.bytes;", "bytes += placement.bytes;"),
    ("placement.cpp", "std::max(std::bit_floor(placement.bytes), natural)", "std::bit_floor(placement.bytes)", "no tensor is smaller than its element"),
    ("placement.cpp", "(0 - route.begin) & (alignment - 1)", "route.begin & (alignment - 1)"),
    ("placement.cpp", "identity && end == route.begin", "identity && end <= route.begin"),
    ("placement.cpp", "((remainder ^ its_remainder) & (std::min(modulus, alignment) - 1)) == 0", "its_remainder + alignment != 0"),
    ("placement.cpp", "begin & -begin", "begin"),
    ("placement.cpp", "if (alignment > run.modulus)", "if (alignment < run.modulus)"),
    ("placement.cpp", "    run.bytes += placement.bytes;\n", ""),
    ("placement.cpp", "(run.begin + run.remainder - arena.bytes)", "(run.remainder - arena.bytes)"),
    ("placement.cpp", "const bool alone = end <= route.begin && ", "const bool alone = "),
    ("placement.cpp", "routes[i + 1].begin < route.end && ", ""),
    ("placement.cpp", "align_up(arenas_[i].bytes, block_bytes)", "arenas_[i].bytes"),
    # What is read.
    ("cut_extents.cpp", "part.end = std::min(range.end, in_place_[next_].end);", "part.end = range.end;"),
    ("cut_extents.cpp", "range.end <= other.begin", "range.end < other.begin"),
    ("cut_extents.cpp", "align_down(part.begin, block_bytes)", "part.begin"),
    ("cut_extents.cpp", "std::min(align_up(part.end, block_bytes), shards_[part.shard].bytes)", "align_up(part.end, block_bytes)"),
    ("cut_extents.cpp", "near->end = std::max(near->end, end);", "near->end = end;", "what is added comes behind what was"),
    ("cut_extents.cpp", "last.in_place || last.group < group", "last.in_place || last.group > group"),
    ("cut_extents.cpp", "range.end = next.begin = between_elements(range.end, cursor.met(range.shard, range.end));", "static_cast<void>(cursor);"),
    ("cut_extents.cpp", "span += (loops[outer].count - 1) * loops[outer].source_stride;", "span += loops[outer].count * loops[outer].source_stride;"),
    ("cut_extents.cpp", "(!is_last && routes[i + 1].begin < route.end)", "false"),
    ("cut_extents.cpp", "routes[i + 1].begin != route.end ||", "routes[i + 1].begin < route.end ||"),
    ("cut_extents.cpp", " || routes[i + 1].group != first.group", ""),
    ("cut_extents.cpp", "pending_.empty() ? route.end : std::max(end_, route.end)", "route.end"),
    ("cut_extents.cpp", "all.group = std::min(all.group, pending_[i++].group);", "++i;"),
    ("cut_extents.cpp", "(cut - route->begin) % route->unit_bytes", "cut % route->unit_bytes"),
    ("cut_extents.cpp", "placement.arena_offset + rows.target", "rows.target"),
    ("cut_extents.cpp", "rows.rows > 1 ? rows.target_stride :", "rows.rows > 1 ? rows.source_stride :"),
    ("cut_extents.cpp", "std::stable_sort(deliveries.begin(), deliveries.end(), by_source);", ""),
    ("cut_extents.cpp", ".count(begin, end) * route.placement_count", ".count(begin, end)"),
    ("cut_extents.cpp", "return plan_.loops.empty() && count", "return count"),
    # In which order.
    ("reading_order.cpp", "std::stable_sort(plan.extents.begin(), plan.extents.end(), by_group);", ""),
    ("reading_order.cpp", "std::sort(places.begin(), places.end());", ""),
    ("reading_order.cpp", "    share.placed_bytes += extent.bytes;\n", ""),
    ("reading_order.cpp", "const Key key{extent.group, devices_of(plan, extent)};", "const Key key{extent.group, 0};"),
    ("reading_order.cpp", "std::tie(a.group, a.in_share, a.extent)", "std::tie(a.in_share, a.group, a.extent)"),
    ("reading_order.cpp", "std::uint64_t{1} << part.device", "std::uint64_t{part.device}"),
    ("cut_extents.cpp", "return begin <= range.end + limits::gap_bytes_max ? &range : nullptr", "return begin <= range.end ? &range : nullptr"),
    # What GPUs get.
    ("make_part.cpp", "bytes += std::uint64_t{copy.rows} * copy.bytes;", "bytes += copy.bytes;"),
    ("make_part.cpp", "end = std::max(end, align_up(delivery.source_end(), table_alignment_bytes));", "end = align_up(delivery.source_end(), table_alignment_bytes);"),
    ("make_part.cpp", " + deliveries_before * table_entry_bytes", " + 0 * deliveries_before"),
    ("make_part.cpp", "deliveries_before == 0 && ", ""),
    ("make_part.cpp", "static_cast<std::uint32_t>(copies) + 1;", "static_cast<std::uint32_t>(copies);"),
    ("make_part.cpp", "part.link_bytes = bytes;", ""),
    ("make_part.cpp", "align_down(deliveries.front().source_offset, table_alignment_bytes)", "deliveries.front().source_offset"),
    ("gather.hpp", "std::uint64_t{delivery.rows - 1} * delivery.source_stride", "std::uint64_t{delivery.rows} * delivery.source_stride"),
    ("gather.hpp", "rows->run_bytes == delivery.run_bytes", "true"),
    ("gather.hpp", "rows->source_stride == delivery.source_stride", "true"),
    ("gather.hpp", "rows->source_offset == delivery.source_offset", "true"),
    ("gather.hpp", "rows->rows == delivery.rows", "true"),
    ("gather.hpp", "end = std::max(end, last);", "end = last;"),
    # Another checkpoint, the same places.
    ("retarget.cpp", "route.begin = route.begin - before.offset + now.offset;", ""),
    ("retarget.cpp", "route.end = route.end - before.offset + now.offset;", ""),
    ("retarget.cpp", "route.first_placement = moved_[route.first_placement];", ""),
    ("retarget.cpp", "route.shard = now.shard;", ""),
    ("retarget.cpp", "std::stable_sort(plan_->routes.begin(), plan_->routes.end(), comes_before);", ""),
    ("retarget.cpp", "if (!before || unmatched[*before])", "if (!before)"),
    ("retarget.cpp", "now.dtype != before.dtype ||", ""),
    ("retarget.cpp", "      placement.deliveries = 0;\n", ""),
    ("retarget.cpp", "plan_->costs.groups = like_.costs.groups;", ""),
    # What it costs.
    ("plan.cpp", ".group].read_bytes_until = costs.read_bytes;", ".group].read_bytes_until += extent.bytes;"),
    ("plan.cpp", "front().read_bytes_until = costs.read_bytes;", "front().read_bytes_until = 0;"),
    ("plan.cpp", "if (part.goes_to_scratch()) costs.devices[part.device].link_bytes += part.delivery_count * table_entry_bytes;", ""),
]

# The first that fails kills. Seeds are few: a mutant that needs thousands of them is as good as alive.
TESTS = [
    ("loader_plan_test", "*"),
    ("loader_engine_test", "Slices.*:Numbers.*:Layers.*:Layouts.*"),
    ("cuda_test", "GpuSlices.*:GpuMemory.*:GpuLayouts.*"),
]
SEEDS = "150"
TEST_SECONDS = 300


def fail(message):
    print(message, file=sys.stderr)
    sys.exit(2)


def source_of(tree, mutant):
    return tree / "loader" / "plan" / mutant[0]


def check_places(tree):
    wrong = [
        f"{mutant[0]}: {'nowhere' if count == 0 else f'{count} times'}: {mutant[1]!r}"
        for mutant in MUTANTS
        if (count := source_of(tree, mutant).read_text().count(mutant[1])) != 1
    ]
    if wrong:
        fail("The list of mutants does not fit the sources:\n  " + "\n  ".join(wrong))


def make_copy(tree):
    """The tracked files as they are here, so that nothing in the tree itself is changed. Builds in it are kept."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        source, target = ROOT / name, tree / name
        if not source.exists():
            continue
        if target.exists() and target.read_bytes() == source.read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def run(command, tree, **more):
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, **more)


def build(tree, target):
    return run(["ninja", "-C", "build/dev", "-j", str(max(1, (os.cpu_count() or 2) - 1)), target], tree)


def killer(tree):
    """What notices the sources that are there; None if nothing does."""
    for target, pattern in TESTS:
        built = build(tree, target)
        if built.returncode != 0:
            return "the compiler"
        try:
            command = [f"build/dev/tests/{target}", f"--gtest_filter={pattern}", "--gtest_fail_fast", "--gtest_brief=1"]
            tested = run(command, tree, timeout=TEST_SECONDS, env={**os.environ, "SLUICE_SEEDS": SEEDS})
        except subprocess.TimeoutExpired:
            return f"{target}, which hangs"
        if tested.returncode != 0:
            failed = [line.split()[3] for line in tested.stdout.splitlines() if line.startswith("[  FAILED  ]")]
            return f"{target}, {failed[0] if failed else 'which ends'}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only", action="append", default=[], help="the number of a mutant, or a part of its source's name")
    parser.add_argument("--tree", type=pathlib.Path, default=ROOT / "build" / "mutants", help="where the copy lies")
    options = parser.parse_args()
    check_places(ROOT)
    if options.check:
        print(f"{len(MUTANTS)} mutants have their places")
        return 0
    make_copy(options.tree)
    if run(["cmake", "--preset", "dev", "-D", "SLUICE_BENCH=OFF"], options.tree).returncode != 0:
        fail("the copy cannot be configured: scripts/setup brings what is missing")
    if (noticed := killer(options.tree)) is not None:
        fail(f"without a mutant this fails: {noticed}")

    counts = {"killed": 0, "survived": 0, "equivalent": 0}
    wrong = []
    for number, mutant in enumerate(MUTANTS):
        if options.only and not any(one == str(number) or (not one.isdigit() and one in mutant[0]) for one in options.only):
            continue
        path = source_of(options.tree, mutant)
        text = path.read_text()
        path.write_text(text.replace(mutant[1], mutant[2]))
        try:
            noticed = killer(options.tree)
        finally:
            path.write_text(text)
        reason = mutant[3] if len(mutant) > 3 else None
        verdict = "killed" if noticed else "equivalent" if reason else "survived"
        counts[verdict] += 1
        what = f"{number:3} {mutant[0]}: {mutant[1].strip()!r} -> {mutant[2].strip()!r}"
        print(f"{verdict:10} {what}: {noticed or reason or 'nobody'}", flush=True)
        if verdict == "survived" or (noticed and reason):
            wrong.append(what)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
