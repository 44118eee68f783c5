"""Counts what scripts/test ran: every case of every test program in every preset, and the checks beside them.

Lists what failed and what was skipped, each with its reason; the last line holds the numbers.
"""

import collections
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

CASE = re.compile(r"^\[ +(OK|SKIPPED|FAILED) +\] ([\w/]+\.[\w/]+)(?:, where .*)? \(\d+ ms\)$")


def cases(program):
    """Yields (verdict, name, reason) of a program: of its GoogleTest cases, or of itself where it has none."""
    name, output = program.get("name"), program.findtext("system-out") or ""
    ok = program.get("status") == "run"
    found_failure = found_case = False
    reason = []
    for line in output.splitlines():
        match = CASE.match(line)
        if match:
            verdict = {"OK": "passed", "SKIPPED": "skipped", "FAILED": "failed"}[match[1]]
            found_case, found_failure = True, found_failure or verdict == "failed"
            yield verdict, f"{name}: {match[2]}", " ".join(reason[-1:])
            reason = []
        elif line.strip() and not line.startswith("["):
            reason.append(line.strip())
    if program.find("skipped") is not None and program.get("status") in ("notrun", "disabled"):
        yield "skipped", name, " ".join(reason[-1:]) or program.find("skipped").get("message", "")
    elif not ok and not found_failure:  # it crashed, hung, or is no GoogleTest program
        failure = program.find("failure")
        yield "failed", name, failure.get("message", "") if failure is not None else program.get("status")
    elif not found_case:
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
