"""Runs docs/examples/tensor_parallel.cpp. usage: tensor_parallel_test.py PROGRAM SIMULATED_DRIVER_FOLDER"""

import itertools
import re

from models import HIDDEN, VOCABULARY, ExampleTest, main, random_model, save, sum_of

BY_COLUMNS = (".self_attn.o_proj.weight", ".mlp.down_proj.weight")


def words_of_rank(model, rank, world):
    """All that one rank keeps, zeros of the padded vocabulary aside: they add nothing."""
    for name, (shape, words) in model.items():
        if name.endswith("norm.weight"):
            yield from words
        elif name.endswith(BY_COLUMNS):
            columns = shape[1] // world
            for row in range(shape[0]):
                begin = row * shape[1] + rank * columns
                yield from words[begin:begin + columns]
        else:
            rows = -(-shape[0] // world)
            yield from words[rank * rows * shape[1]:(rank + 1) * rows * shape[1]]


class TensorParallel(ExampleTest):
    def run_on(self, gpus, **environment):
        model = random_model(3)
        path = self.folder / "model"
        if not path.exists():
            save(path, model)
        status, out, error = self.run_example(path, SLUICE_SIM_DEVICES=str(gpus), **environment)
        self.assertEqual((status, error), (0, ""))
        lines = out.splitlines()
        self.assertEqual(len(lines), 2 * gpus)
        for rank in range(gpus):
            self.assertEqual(lines[gpus + rank], f"cuda:{rank}: sum of all words "
                                                 f"{sum_of(words_of_rank(model, rank, gpus))}")
        return model, lines[:gpus]

    def test_each_gpu_gets_its_part(self):
        for gpus, policy in itertools.product((1, 2, 4), ("eager", "never", "random")):
            with self.subTest(gpus=gpus, policy=policy):
                self.run_on(gpus, SLUICE_SIM_POLICY=policy)

    def test_links_carry_little_more_than_is_kept(self):
        for gpus in (2, 4):
            with self.subTest(gpus=gpus):
                model, lines = self.run_on(gpus)
                for rank, line in enumerate(lines):
                    tensors, block, link = map(int, re.fullmatch(
                        rf"cuda:{rank}: (\d+) tensors in (\d+) bytes, (\d+) over its link", line).groups())
                    kept = 2 * sum(1 for _ in words_of_rank(model, rank, gpus))
                    padding = 2 * 2 * HIDDEN * (-(-VOCABULARY // gpus)) + 256 * tensors
                    self.assertLessEqual(kept, block)
                    self.assertLessEqual(block, kept + padding)
                    self.assertLessEqual(link, 1.1 * kept + 4096)

    def test_no_checkpoint_there(self):
        self.assertEqual(self.expect_refused("^tensor_parallel: not found: .*nowhere", self.folder / "nowhere"), "")

    def test_a_missing_tensor(self):
        model = random_model(3)
        del model["model.layers.1.self_attn.k_proj.weight"]
        path = save(self.folder / "model", model)
        self.expect_refused(r"the checkpoint has no model\.layers\.1\.self_attn\.k_proj\.weight", path)

    def test_tells_all_that_is_wrong_at_once(self):
        model = random_model(3)
        for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.2.mlp.up_proj.weight"):
            model[name] = ([97, HIDDEN], model[name][1] + model[name][1][:HIDDEN])
        path = save(self.folder / "model", model)
        status, _, error = self.run_example(path, SLUICE_SIM_DEVICES="2")
        self.assertEqual(status, 1)
        for layer in (0, 2):
            self.assertRegex(error, rf"tensor_parallel: invalid argument: .*model\.layers\.{layer}\.mlp\.up_proj\.weight")
        self.assertTrue(error.endswith("tensor_parallel: this checkpoint does not fit\n"), error)

    def test_skips_without_a_gpu(self):
        path = save(self.folder / "model", random_model(3))
        status, _, error = self.run_example(path, SLUICE_SIM_DEVICES="0")
        self.assertEqual(status, 77)
        self.assertRegex(error, "^tensor_parallel: no GPU: ")


main()
