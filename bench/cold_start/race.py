"""The race: cold and warm starts by sluice and by other people's loaders into host memory, beside the machine's limit.
Makes a report in Markdown, a picture, and the samples as JSON, in one command.

usage: race.py BUILD FOLDER [--rounds 5] [--minutes M] [--bytes 4294967296] [--tensors 21507] [--out race]
               [--only TEXT]...

BUILD is a release build of sluice. Checkpoints (dense BF16, many small tensors, FP8 with scales) are made in FOLDER, the
peers are installed in build/peers; both are kept for the next run. OUT.md, OUT.svg and OUT.json are written after every
round, so that a run that is cut off is still useful. With --minutes no round is begun that would not end in time, but
for the first. --only takes the rows in whose titles TEXT stands.

- A start is a process of its own. Its seconds count from exec to every tensor in hand; those of the load alone leave out
  the start of the program, for Python the imports.
- First a sweep: every contender in each of its settings, once, with the first checkpoint, cold and warm. Then rounds, in
  which a peer runs in its default setting and in the one that was its fastest in that state. Samples of the sweep do not
  count.
- In the first round the bytes that each has in hand are proved by the digests that were written with the checkpoint, and
  to be its own, not a mapping of the file; after the time was taken.
- Who fails is told with the reason. See bench/measuring.py for the rest of how it measures.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
import time

root = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(root / "bench"), str(root / "scripts")]
import demo_checkpoint  # noqa: E402
import measuring  # noqa: E402
import outputs  # noqa: E402
import peers  # noqa: E402
import race_report  # noqa: E402

FIO = (("256k", 16), ("256k", 32), ("512k", 8), ("512k", 16), ("1M", 8), ("1M", 16), ("4M", 4))
DIRECT = ((1, 16), (4, 4), (4, 16))  # MiB and depth
PREAD = (1, 4)  # MiB
STATES = ("cold", "warm")
LOAD_WITH = root / "bench/cold_start/load_with.py"


@dataclasses.dataclass
class Checkpoint:
    name: str
    folder: pathlib.Path

    def __post_init__(self):
        self.shards = sorted(self.folder.glob("*.safetensors"))
        self.bytes = sum(map(os.path.getsize, self.shards))
        self.digests = json.loads((self.folder / demo_checkpoint.DIGESTS).read_text())
        self.proved = {}  # (contender, setting) -> whether its bytes were right and its own


@dataclasses.dataclass
class Contender:
    name: str
    kind: str  # limit, sluice or peer
    settings: dict  # name -> function of a checkpoint, and of whether to prove the bytes; the first is the default
    states: tuple = STATES

    @property
    def default(self):
        return next(iter(self.settings))


class Row:
    """One checkpoint in one state, and the samples of each contender in its settings."""

    def __init__(self, checkpoint, state):
        self.checkpoint, self.state = checkpoint, state
        self.entries = {}  # (contender's name, setting) -> contender
        self.samples = {}  # likewise -> samples
        self.failures = {}  # likewise -> why there are no more

    @property
    def title(self):
        return f"{self.checkpoint.name}, {self.state}"

    def run(self, contender, setting, prove=False, tries=1):
        action = functools.partial(contender.settings[setting], self.checkpoint, prove)
        prepare = measuring.make_cold if self.state == "cold" else measuring.make_warm
        return measuring.measured(action, lambda: prepare(self.checkpoint.shards), 5 * self.checkpoint.bytes // 4, tries)

    def round(self, turn, say):
        proved = self.checkpoint.proved
        for entry, contender in list(self.entries.items())[::-1 if turn % 2 else 1]:
            if entry in self.failures:
                continue
            say(f"round {turn + 1}: {self.title}: {': '.join(entry)}")
            try:
                if not proved.get(entry, True):
                    raise measuring.Failed("failed before with these bytes")
                sample = self.run(contender, entry[1], entry not in proved, tries=3)
                self.samples.setdefault(entry, []).append(sample)
                proved[entry] = True
            except measuring.Failed as failed:
                self.failures[entry] = reason(failed)
                say(f"       failed: {reason(failed)}")
                proved.setdefault(entry, False)
                self.samples.pop(entry, None)

    def data(self):
        return {"title": self.title, "bytes": self.checkpoint.bytes, "tensors": len(self.checkpoint.digests), "entries": [
            {"name": name, "setting": setting, "kind": contender.kind, "is_default": setting == contender.default,
             "samples": self.samples.get((name, setting), []),
             "failure": self.failures.get((name, setting))}
            for (name, setting), contender in self.entries.items()]}


class Sweep:
    """The settings of all contenders in one state, once each."""

    def __init__(self, row, contenders, say):
        self.samples, self.failures = {}, {}  # (contender, setting) -> sample, or why there is none
        self.contenders = [contender for contender in contenders if row.state in contender.states]
        for contender in self.contenders:
            for setting in contender.settings:
                say(f"sweep: {row.title}: {contender.name}: {setting}")
                try:
                    self.samples[contender.name, setting] = row.run(contender, setting)
                except measuring.Failed as failed:
                    self.failures[contender.name, setting] = reason(failed)
                    say(f"       failed: {reason(failed)}")

    def best(self, contender):
        """Of its settings that worked the fastest, or None."""
        worked = [setting for setting in contender.settings if (contender.name, setting) in self.samples]
        return min(worked, key=lambda setting: self.samples[contender.name, setting]["seconds"], default=None)

    def entries(self):
        """Who runs in the rounds: of limits the best setting, of others that and the default."""
        entries = {}
        for contender in self.contenders:
            best = self.best(contender)
            for setting in [best] if contender.kind == "limit" else [contender.default, best]:
                if (contender.name, setting) in self.samples:
                    entries[contender.name, setting] = contender
        return entries

    def data(self):
        return [{"name": contender.name, "setting": setting, "failure": self.failures.get((contender.name, setting)),
                 "sample": self.samples.get((contender.name, setting))}
                for contender in self.contenders for setting in contender.settings]


def reason(failed):
    return str(failed).splitlines()[-1]


def limits(build):
    def bare(name, *options):
        command = [build / f"bench/bench_cold_start_{name}", *options]
        return lambda checkpoint, _: measuring.start([*command, *checkpoint.shards])

    def fio(block, depth):
        return lambda checkpoint, _: measuring.fio(checkpoint.shards, block, depth)

    return [
        Contender("fio, direct reads", "limit",
                  {f"{block} x {depth}": fio(block, depth) for block, depth in FIO}, ("cold",)),
        Contender("bare loop, direct reads into fresh huge pages", "limit",
                  {f"{mib} MiB x {depth}": bare("direct", mib << 20, depth, 0) for mib, depth in DIRECT}, ("cold",)),
        Contender("two threads of pread into fresh huge pages", "limit",
                  {f"{mib} MiB": bare("pread", mib << 20, 2) for mib in PREAD}, ("warm",)),
    ]


def by_command(tool):
    def run(checkpoint, prove):
        done = measuring.start([tool, "load", checkpoint.folder, "--json"])
        if prove:
            tensors = measuring.sluice(tool, checkpoint.folder, "--digest", "sha256")["tensors"]
            if {tensor["name"]: tensor["digest"] for tensor in tensors} != checkpoint.digests:
                raise measuring.Failed("a tensor does not have the bytes that were written")
        return {**done["stats"], "process_seconds": done["process_seconds"]}
    return Contender("sluice", "sluice", {"defaults": run})


def by_python(name, kind, python, loader, settings, path):
    """A contender of load_with.py, its package in the folder `path`."""
    def runner(setting):
        options = [f"--set={argument}={value}" for argument, value in setting.options.items()]
        environment = {"PYTHONPATH": str(path), **setting.environment}
        return lambda checkpoint, prove: measuring.start(
            [python, LOAD_WITH, loader, *options, *(["--prove"] if prove else []), *checkpoint.shards], environment)
    return Contender(name, kind, {called: runner(setting) for called, setting in settings.items()})


def everyone(build, folder, python):
    ours = {"defaults": peers.Setting()}
    return [
        *limits(build),
        by_command(build / "sluice"),
        by_python("sluice (Python)", "sluice", python, "sluice", ours, build / "python"),
        by_python("sluice (Python, torch)", "sluice", python, "sluice_torch", ours, build / "python"),
        *(by_python(peer.name, "peer", python, peer.loader, peer.settings, peer.place(folder)) for peer in peers.PEERS),
    ]


def checkpoints(folder, size, tensors):
    dense, small, fp8 = (folder / name for name in (f"bf16-{size >> 20}MiB", f"small-{tensors}", f"f8_e4m3-{size >> 21}MiB"))
    demo_checkpoint.make(dense, size)
    demo_checkpoint.make_small(small, tensors)
    demo_checkpoint.make(fp8, size // 2, "F8_E4M3")
    return [Checkpoint("dense", dense), Checkpoint(f"{tensors:,} small tensors", small), Checkpoint("FP8", fp8)]


def write(out, data):
    outputs.write_file(f"{out}.json", json.dumps(data, indent=1) + "\n", "{")
    race_report.write(data, out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--bytes", type=int, default=4 << 30)
    parser.add_argument("--tensors", type=int, default=21507)
    parser.add_argument("--out", default="race")
    parser.add_argument("--only", action="append")
    asked = parser.parse_args()
    began, started = time.monotonic(), time.strftime("%Y-%m-%d")

    def say(text):
        print(f"{(time.monotonic() - began) / 60:5.1f} min  {text}", flush=True)

    folder = root / "build/peers"
    python, refused = peers.install(folder, say)
    contenders = [contender for contender in everyone(asked.build, folder, python) if contender.name not in refused]
    rows = [Row(checkpoint, state)
            for checkpoint in checkpoints(asked.folder, asked.bytes, asked.tensors) for state in STATES]
    rows = [row for row in rows if not asked.only or any(text in row.title for text in asked.only)]
    sweeps = {}
    for row in rows:
        if row.state not in sweeps:
            sweeps[row.state] = Sweep(row, contenders, say)
        row.entries = sweeps[row.state].entries()

    began_rounds = time.monotonic()
    for turn in range(asked.rounds):
        for row in rows:
            row.round(turn, say)
        command = (f"bench/cold_start/race.py BUILD FOLDER --rounds {turn + 1} --bytes {asked.bytes} "
                   f"--tensors {asked.tensors}")
        write(asked.out, {"machine": measuring.machine(), "when": started, "command": command, "rounds": turn + 1,
                          "refused": refused, "sweeps": {state: sweep.data() for state, sweep in sweeps.items()},
                          "rows": [row.data() for row in rows]})
        now = time.monotonic()
        if asked.minutes and now + (now - began_rounds) / (turn + 1) > began + 60 * asked.minutes:
            break
    say(f"{turn + 1} rounds; {asked.out}.md, {asked.out}.svg and {asked.out}.json are written")


if __name__ == "__main__":
    try:
        main()
    except (measuring.Failed, subprocess.CalledProcessError) as failed:
        sys.exit(f"race: {failed}")
