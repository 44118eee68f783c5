"""Runs docs/examples/host.cpp. usage: host_test.py PROGRAM SIMULATED_DRIVER_FOLDER"""

import struct

from models import ExampleTest, main, random_model, save


class Host(ExampleTest):
    def test_a_cast_tensor_s_values(self):
        values = [1.5, -2.0, 0.25, 96.0]
        words = b"".join(struct.pack("<f", value)[2:] for value in values)  # BF16: the upper half of an F32
        path = save(self.folder / "model", {**random_model(1), "model.norm.weight": ("BF16", [4], words)})
        status, out, error = self.run_example(path, "model.norm.weight")
        self.assertEqual(status, 0, error)
        first, second, third = out.splitlines()
        self.assertRegex(first, r"^30 tensors in [0-9]+ bytes of memory$")
        self.assertEqual([second, third], ["model.norm.weight: -2 to 96", "all are there"])

    def test_a_checkpoint_of_one_tensor_of_integers(self):
        path = save(self.folder / "one", {"ids": ("I32", [2], bytes(8))})
        status, out, _ = self.run_example(path, "ids")
        self.assertEqual((status, out.splitlines()[1:]), (0, ["ids: I32", "all are there"]))

    def test_no_checkpoint_there(self):
        self.assertEqual(self.expect_refused(r"^host: not found: .*nowhere", self.folder / "nowhere", "x"), "")

    def test_no_such_tensor(self):
        path = save(self.folder / "model", random_model(1))
        self.assertEqual(self.expect_refused(r'^host: tensor not found: .*"model\.norm\.wait"', path, "model.norm.wait"), "")

    def test_usage(self):
        status, _, error = self.run_example()
        self.assertEqual((status, error), (2, "usage: host PATH TENSOR\n"))


main()
