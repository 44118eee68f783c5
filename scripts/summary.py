"""Counts what scripts/test ran: every case of every test program in every preset, and the checks beside them.

Lists what failed and what was skipped, each with its reason; the last line holds the numbers.
"""

import collections
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

CASE = re.compile(r"^\[ +(OK|SKIPPED|FAILED) +\] ([\w/]+\.[\w/]+)(?:, where .*)? \(\d+ ms\)$")


def told(lines):
    """What a test said on one line; GoogleTest's place of a skip is of no interest."""
    return " ".join(line for line in lines if not line.endswith(": Skipped"))[:200]


def cases(program):
    """Yields (verdict, name, reason) of a program: of its GoogleTest cases, or of itself where it has none."""
    name, skipped = program.get("name"), program.find("skipped")
    verdicts, lines = [], []
    for line in (program.findtext("system-out") or "").splitlines():
        match = CASE.match(line)
        if match:
            verdicts.append({"OK": "passed", "SKIPPED": "skipped", "FAILED": "failed"}[match[1]])
            yield verdicts[-1], f"{name}: {match[2]}", told(lines)
        if line.startswith("["):  # of another case
            lines = []
        elif line.strip():
            lines.append(line.strip())

    if skipped is not None and skipped.get("message", "").startswith("SKIP_"):  # by its exit status or its output
        yield "skipped", name, told(lines[-1:])
    elif program.get("status") != "run" and "failed" not in verdicts:  # crashed, hung, or is no GoogleTest program
        yield "failed", name, told(lines[-3:]) or "it was not there, ended without a word or did not end in time"
    elif not verdicts:
        yield "passed", name, ""


def main():
    results = pathlib.Path(sys.argv[1])
    counts = collections.Counter()
    notable = collections.defaultdict(lambda: collections.defaultdict(list))  # verdict -> what -> presets

    for line in (results / "checks").read_text().splitlines():
        verdict, name = line.split(" ", 1)
        counts[verdict] += 1
        if verdict != "passed":
            notable[verdict][(name, f"see {results}/{name.replace(' ', '-')}.log")].append("")
    for file in sorted(results.glob("*.xml")):
        for program in ElementTree.parse(file).getroot().iter("testcase"):
            for verdict, name, reason in cases(program):
                counts[verdict] += 1
                if verdict != "passed":
                    notable[verdict][(name, reason)].append(file.stem)

    for verdict in ("skipped", "failed"):
        for (name, reason), presets in notable[verdict].items():
            where = f" ({', '.join(filter(None, presets))})" if any(presets) else ""
            print(f"{verdict}: {name}{where}: {reason}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
