#include "loader/tool/help.hpp"

namespace sluice::tool::help {

namespace {

// The options that plan and load share.
constexpr const char* load_options =
    R"(What to load:
  --select GLOB    only tensors whose name matches; * also matches dots; may be repeated; a GLOB that matches nothing
                   is an error
  --slice GLOB:DIM[:RANK/WORLD]
                   of the tensors whose name matches only part RANK of WORLD equal parts of dimension DIM, counted from
                   0; without RANK/WORLD device i of n gets part i of n; may be repeated, and the first that matches a
                   tensor decides; all others go whole to every device
  --rules FILE     what a rules file says, in place of --select, --slice and --dtype: tensors as an engine's parameters,
                   fused, stacked and cut; docs/rules.md has the language, docs/rules/ files for known models
  --set NAME=VALUE gives a name of that file a whole number; may be repeated. Without --set, world is the number of
                   devices and rank the place of each
  --device LIST    where to: host (default), cuda:N or several, as in cuda:0,cuda:1, each of which gets everything; or
                   null, which takes and forgets, to measure everything before it
  --dtype D        cast tensors of floating-point dtypes to F64, F32, F16, BF16, F8_E4M3 or F8_E5M2; all others stay
                   as they are

  --budget BYTES   the most memory for tensors that is there at a time on each device, at least 8MiB: it comes and goes
                   in pieces, and a tensor is let go of when it has arrived, and been digested (default: all of it)

How to read it:
  --io MODE        auto (default): cached bytes are copied from the page cache, all others read past it;
                   direct: O_DIRECT wherever the file system allows it; buffered: never O_DIRECT
  --reader KIND    auto (default): uring, or pread if uring does not work; or one of these two by name;
                   or null, which reads nothing and delivers noise, to measure everything behind it
  --staging BYTES  the most host memory for bytes on their way (default 128MiB, at least 256KiB)
  --slab BYTES     the most that one read brings, a multiple of 64KiB (default 4MiB, or less where staging is small)
  --queue-depth N  the most reads in flight, 1 to 256 (default 32)
  --threads N      threads for casts and copies, 1 to 256 (default: one per processor, 16 at most)

  BYTES is a number, or one with K, M, G, KiB, MiB, GiB (1024) or KB, MB, GB (1000).
)";

}  // namespace

std::string overview() {
  return R"(sluice loads the weights of a model from storage into memory as fast as the machine allows.

Usage:
  sluice COMMAND PATH [OPTIONS]

Commands:
  inspect   list the tensors of a checkpoint: names, dtypes, shapes, sizes
  plan      say what a load would read, copy and hold, without doing it
  load      load it, and say what that took
  bench     measure cold and warm starts beside the limit of the machine, and say what holds them back
  doctor    say what this machine offers for fast loading, what it refuses, and what to do about it

PATH is a .safetensors file, a folder of them, a *.safetensors.index.json, or a snapshot folder of the Hugging Face
cache.

Options:
  -h, --help     this page; `sluice COMMAND --help` explains one command
  --version      print the version

Examples:
  sluice inspect /models/minilm
  sluice load /models/minilm --dtype BF16
  sluice load /models/glm --device null             how fast storage alone is
  sluice bench /models/glm --device cuda:0         what holds its cold start back, and what would help
  sluice load /models/minilm --digest sha256 --json | jq .stats
  sluice doctor /models

Exit status: 0 done; 1 the input or the machine is at fault; 2 wrong usage; 130 interrupted.
)";
}

std::string inspect() {
  return R"(List the tensors of a checkpoint. Reads headers only, and validates every one of them.

Usage:
  sluice inspect PATH [OPTIONS]

Options:
  --select GLOB   only tensors whose name matches; * also matches dots; may be repeated
  --rules FILE    only tensors that a rules file takes; docs/rules.md has the language
  --set NAME=VALUE   gives a name of that file a whole number; may be repeated
  --json          one object on standard output: a list of tensors with shard and offset
  -h, --help      this page

Examples:
  sluice inspect model.safetensors
  sluice inspect /models/glm --select '*.norm.weight' --select 'lm_head.*'
  sluice inspect /models/glm --json | jq '[.tensors[].bytes] | add'
)";
}

std::string plan() {
  return R"(Say what a load would read, copy, launch and hold, without doing it. Needs no GPU driver for cuda:N.

Usage:
  sluice plan PATH [OPTIONS]

)" + std::string(load_options) +
         R"(
What to print:
  --digest sha256, --trace FILE   accepted so that load's command lines work; a plan has nothing to digest or trace
  --as-rules       a rules file that asks for the same, with a number in place of every variable
  --json           the object that load would print; what only a load can know is null
  -h, --help       this page

Examples:
  sluice plan /models/glm --device cuda:0,cuda:1
  sluice plan /models/glm --select '*.experts.*' --dtype BF16 --json
  sluice plan /models/glm --device cuda:0,cuda:1 --slice '*.q_proj.weight:0' --slice '*.o_proj.weight:1'
  sluice plan /models/qwen3 --rules docs/rules/qwen3-moe.rules --set world=8 --set rank=3
)";
}

std::string load() {
  return R"(Load a checkpoint and say what that took. Nothing is kept: this measures and checks.

Usage:
  sluice load PATH [OPTIONS]

)" + std::string(load_options) +
         R"(
What to print:
  --digest sha256  the digest of each tensor as delivered, read back from the device; times do not include it
  --trace FILE     what was read, copied and cast, and when, for https://ui.perfetto.dev; written at the end
  --json           one object on standard output: tensors and statistics
  -h, --help       this page

Examples:
  sluice load /models/minilm
  sluice load /models/minilm --dtype BF16 --digest sha256
  sluice load /models/glm --device cuda:0 --trace load.json
  sluice load /models/glm --device null --io direct       the rate of storage alone
  sluice load /models/glm --reader null --device null     the cost of sluice itself

Ctrl-C ends the load cleanly (exit status 130); a second one ends the process at once.
)";
}

std::string bench() {
  return R"(Measure cold and warm starts of a checkpoint on this machine, with the machine's own limits beside them in the same
rounds, and say in one sentence what holds each kind back. Each start is a process of its own: `sluice load PATH` with
the same options. Cold: nothing of it is in the page cache, as the kernel confirms before each start; warm: all of it.

Usage:
  sluice bench PATH [OPTIONS]

What to measure:
  --rounds N       how often, 1 to 100 (default 3); rounds go forwards and backwards in turns, and medians count
  --cold, --warm   only that kind of start; without either, both
  --plot FILE      also draws them as SVG; only an empty file or an earlier picture is replaced
  --json           one object on standard output: machine, limits, every sample, medians
  -h, --help       this page

)" + std::string(load_options) +
         R"(
  --digest sha256, --trace FILE   accepted so that load's command lines work; a measured start makes neither

Examples:
  sluice bench /models/glm
  sluice bench /models/glm --device cuda:0 --cold --rounds 5 --plot cold.svg
  sluice bench /models/glm --dtype BF16 --json | jq '.cold.bottleneck.sentence'

A kind of start that cannot be had (no cold one on tmpfs, no warm one of more than memory holds) is left out, with the
reason; it is an error if only that one was asked for. docs/cold-starts.md says how to read the figures.
)";
}

std::string bench_link() {
  return R"(Measure how long the driver takes to start and how fast each GPU copies pinned memory, and print one object. bench
runs it as a process of its own, since a driver starts only once in each.

Usage:
  sluice bench-link --device cuda:N[,cuda:N]...

Options:
  --device LIST   the GPUs
  -h, --help      this page

Examples:
  sluice bench-link --device cuda:0
)";
}

std::string doctor() {
  return R"(Check what this machine offers for fast loading: each line says what works or what does not, and what to do
about it. With PATH, doctor also checks the file system that PATH lies on: name the folder that holds the models.

Usage:
  sluice doctor [PATH] [OPTIONS]

Options:
  --json       one object on standard output: a list of checks, each with name, status, finding and advice
  -h, --help   this page

Status is ok, slow (works, but something faster is refused or missing), failed (needed and missing) or info.
The exit status is 0 whatever doctor finds, and 1 if it cannot look at PATH.

Examples:
  sluice doctor
  sluice doctor /models/glm
)";
}

}  // namespace sluice::tool::help
