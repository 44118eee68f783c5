"""Goal: the report and the picture of the race tell what was measured: who is ahead, a peer too, and who failed.
Method: reports of a race by numbers, whose picture is walked as XML.
"""

import pathlib
import sys
import unittest
import xml.dom.minidom

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench/cold_start"))
import race_report  # noqa: E402


def sample(seconds, process_seconds):
    return {"bytes": 4e9, "seconds": seconds, "process_seconds": process_seconds, "cpu_seconds": 1,
            "peak_resident_bytes": 5 << 30}


def entry(name, kind, *samples, setting="defaults", failure=None):
    return {"name": name, "setting": setting, "kind": kind, "is_default": setting == "defaults",
            "samples": list(samples), "failure": failure}


def race(*entries):
    swept = {"cold": [{"name": "Peer & Co.", "setting": "huge pages", "sample": sample(2, 5), "failure": None},
                      {"name": "Peer & Co.", "setting": "defaults", "sample": sample(4, 7), "failure": None},
                      {"name": "Needs a GPU", "setting": "defaults", "sample": None, "failure": "no <CUDA>"}]}
    limit = {**sample(1, 1), "bytes": 8e9}
    return {"machine": "2 x CPU", "when": "2026-12-01", "command": "race.py", "rounds": 3, "refused": {}, "sweeps": swept,
            "rows": [{"title": "dense, cold", "bytes": 4e9, "tensors": 291,
                      "entries": [entry("loop", "limit", limit), *entries]}]}


def report(data):
    rows = [race_report.Row(row) for row in data["rows"]]
    return race_report.markdown(data, rows), race_report.picture(data, rows)


class RaceReport(unittest.TestCase):
    def test_medians_and_shares(self):
        text, _ = report(race(entry("sluice", "sluice", sample(1, 1.5), sample(8, 8.5), sample(2, 2.5))))
        self.assertIn("| sluice | defaults | **2.50** | 1.00 | **2.00** | 0.50 to 4.00 | 0.25 | 0.250 | 5120 |", text)

    def test_a_peer_that_wins_is_shown_winning(self):
        text, picture = report(race(entry("sluice", "sluice", sample(2, 2.5)), entry("Peer & Co.", "peer", sample(1, 2))))
        self.assertIn("| Peer & Co. | defaults | **2.00** | 0.80 | **4.00** |", text)
        self.assertIn("| dense, cold | 8.00 | 2.50 | **2.00** Peer & Co. | 2.00 | **4.00** Peer & Co. |", text)
        self.assertLess(picture.index("Peer &amp; Co."), picture.index(">sluice<"))

    def test_a_slow_program_with_a_fast_load_wins_the_load(self):
        text, _ = report(race(entry("sluice", "sluice", sample(2, 2.5)), entry("Peer & Co.", "peer", sample(1, 5))))
        self.assertIn("| dense, cold | 8.00 | **2.50** | 5.00 Peer & Co. | 2.00 | **4.00** Peer & Co. |", text)

    def test_failures_are_told(self):
        text, picture = report(race(entry("sluice", "sluice", sample(2, 2.5)),
                                    entry("Peer & Co.", "peer", failure="killed | 9")))
        self.assertIn("| Peer & Co. | defaults; **failed**: killed / 9 |", text)
        self.assertIn("- Needs a GPU, defaults: no <CUDA>", text)
        self.assertNotIn("Peer", picture)

    def test_the_sweep_names_the_fastest_setting(self):
        text, _ = report(race())
        self.assertIn("| Peer & Co. | huge pages | **2.00** |\n| Peer & Co. | defaults | 1.00 |", text)

    def test_the_picture_is_svg_and_marks_defaults(self):
        peer = [entry("Peer & Co.", "peer", sample(4, 7)), entry("Peer & Co.", "peer", sample(2, 5), setting="huge pages")]
        _, picture = report(race(entry("sluice", "sluice", sample(2, 2.5)), *peer))
        document = xml.dom.minidom.parseString(picture).documentElement
        self.assertEqual(document.tagName, "svg")
        self.assertEqual(picture.count(race_report.DEFAULTS), 1)
        self.assertEqual(sum(node.firstChild.data == "Peer & Co." for node in document.getElementsByTagName("text")), 1)

    def test_a_race_that_nobody_finished(self):
        text, picture = report(race(entry("Peer & Co.", "peer", failure="killed")))
        self.assertIn("killed", text)
        xml.dom.minidom.parseString(picture)


if __name__ == "__main__":
    unittest.main()
