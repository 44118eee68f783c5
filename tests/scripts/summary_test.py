"""scripts/summary.py: nothing that failed may look passed or skipped.

Method: hands it verdicts as the test driver writes them, and compares what it prints and its exit status.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

SUMMARY = pathlib.Path(__file__).parents[2] / "scripts" / "summary.py"


def program(status, output="", skipped=None):
    element = ElementTree.Element("testcase", name="program", status=status)
    if skipped is not None:
        ElementTree.SubElement(element, "skipped", message=skipped)
    ElementTree.SubElement(element, "system-out").text = output
    return element


class Summary(unittest.TestCase):
    def summary(self, *programs, checks="passed format\n"):
        """The lines that it prints, and its exit status."""
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "checks").write_text(checks)
            suite = ElementTree.Element("testsuite")
            suite.extend(programs)
            ElementTree.ElementTree(suite).write(pathlib.Path(folder, "release.xml"))
            done = subprocess.run([sys.executable, SUMMARY, folder], stdout=subprocess.PIPE, text=True)
            return done.stdout.splitlines(), done.returncode

    def test_counts_cases_rather_than_programs(self):
        output = "[       OK ] A.B (0 ms)\n[       OK ] All/A.C/0 (12 ms)\n[       OK ] A/1.D (0 ms)\n"
        self.assertEqual(self.summary(program("run", output)), (["4 passed, 0 failed, 0 skipped"], 0))

    def test_gives_the_reason_of_a_skipped_case(self):
        output = "[ RUN      ] A.B\na_test.cpp:3: Skipped\nno io_uring\nhere\n[  SKIPPED ] A.B (0 ms)\n"
        lines, status = self.summary(program("run", output))
        self.assertEqual(lines, ["skipped: program: A.B (release): no io_uring here", "1 passed, 0 failed, 1 skipped"])
        self.assertEqual(status, 0)

    def test_skips_what_says_so_by_its_exit_status(self):
        lines, status = self.summary(program("notrun", "no model\n", skipped="SKIP_RETURN_CODE=77"))
        self.assertEqual(lines, ["skipped: program (release): no model", "1 passed, 0 failed, 1 skipped"])
        self.assertEqual(status, 0)

    def test_fails_a_program_that_is_not_there(self):
        lines, status = self.summary(program("notrun", skipped="Unable to find executable"))
        self.assertEqual((lines[-1], status), ("1 passed, 1 failed, 0 skipped", 1))

    def test_fails_a_program_that_crashed_after_cases_that_passed(self):
        lines, status = self.summary(program("fail", "[       OK ] A.B (0 ms)\n[ RUN      ] A.C\n"))
        self.assertEqual((lines[-1], status), ("2 passed, 1 failed, 0 skipped", 1))

    def test_counts_a_failed_case_once(self):
        output = "[ RUN      ] A.B\na_test.cpp:3: Failure\n[  FAILED  ] A.B, where GetParam() = 3 (0 ms)\n"
        lines, status = self.summary(program("fail", output))
        self.assertEqual((lines[-1], status), ("1 passed, 1 failed, 0 skipped", 1))

    def test_fails_with_a_failed_check(self):
        lines, status = self.summary(checks="failed build asan\n")
        self.assertTrue(lines[0].startswith("failed: build asan: see "))
        self.assertEqual((lines[-1], status), ("0 passed, 1 failed, 0 skipped", 1))


if __name__ == "__main__":
    unittest.main()
