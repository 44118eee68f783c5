"""Runs docs/examples/one_gpu.cpp. usage: one_gpu_test.py PROGRAM SIMULATED_DRIVER_FOLDER"""

import itertools

from models import LAYERS, ExampleTest, main, random_model, save, sum_of


class OneGpu(ExampleTest):
    def test_kernels_read_each_word_once_whatever_the_gpu_s_order(self):
        model = random_model(2)
        path = save(self.folder / "model", model)
        expected = sum_of(itertools.chain.from_iterable(words for _, words in model.values()))
        for policy in ("eager", "lazy", "never", "random"):
            with self.subTest(policy=policy):
                status, out, error = self.run_example(path, SLUICE_SIM_POLICY=policy)
                self.assertEqual((status, error), (0, ""))
                self.assertEqual(out.splitlines(), [f"{LAYERS} layers, {len(model)} tensors",
                                                    f"{len(model)} kernels, sum of all words {expected}"])

    def test_no_checkpoint_there(self):
        self.assertEqual(self.expect_refused("^one_gpu: not found: .*nowhere", self.folder / "nowhere"), "")

    def test_a_missing_tensor(self):
        model = random_model(2)
        del model["model.norm.weight"]
        path = save(self.folder / "model", model)
        self.assertEqual(self.expect_refused(r'^one_gpu: tensor not found: .*model\.norm\.weight', path), "")

    def test_a_tensor_that_nobody_knows(self):
        path = save(self.folder / "model", {**random_model(2), "vision.weight": ("F32", [1], bytes(4))})
        self.assertEqual(self.expect_refused(r"^one_gpu: incomplete: .*vision\.weight", path), "")

    def test_skips_without_a_gpu(self):
        path = save(self.folder / "model", random_model(2))
        status, _, error = self.run_example(path, SLUICE_SIM_DEVICES="0")
        self.assertEqual(status, 77)
        self.assertRegex(error, "^one_gpu: no GPU: ")


main()
