"""Runs docs/examples/reload.cpp. usage: reload_test.py PROGRAM SIMULATED_DRIVER_FOLDER"""

import itertools
import signal

from models import LAYERS, ExampleTest, main, random_model, save, sum_of


def sum_of_model(model):
    return sum_of(itertools.chain.from_iterable(words for _, words in model.values()))


class Reload(ExampleTest):
    def setUp(self):
        super().setUp()
        self.models = [random_model(4), random_model(5)]
        self.paths = [save(self.folder / str(i), model) for i, model in enumerate(self.models)]
        self.sums = list(map(sum_of_model, self.models))

    def test_the_second_comes_behind_the_first_s_work(self):
        for policy in ("eager", "lazy", "never", "random"):
            with self.subTest(policy=policy):
                status, out, error = self.run_example(*self.paths, SLUICE_SIM_POLICY=policy)
                self.assertEqual(status, 0, error)
                self.assertEqual(out.splitlines(), ["planned", f"first: sum of all words {self.sums[0]}",
                                                    f"first, once more: sum of all words {self.sums[0]}",
                                                    f"second: sum of all words {self.sums[1]}"])
                size = (self.paths[1] / "model.safetensors").stat().st_size
                self.assertTrue(error.endswith(f"\n{size} of {size} bytes read\n"), error)  # \r is read as \n

    def disturb(self, line, disturbance, kernels=1000):
        """Runs the example on a GPU with a slow link, and with kernels that are so many times as fast, and disturbs it once
        it has said `line`. Where it was done before that, again on one half as fast."""
        for rate in (400_000 / 2**turn for turn in range(6)):
            slow = {"SLUICE_SIM_LINK": str(int(rate)), "SLUICE_SIM_KERNEL": str(int(kernels * rate))}
            with self.start(*self.paths, **slow) as process:
                said = []
                for text in process.stdout:
                    said.append(text.rstrip())
                    if text.startswith(line):
                        disturbance(process)
                error = process.stderr.read()
            if process.returncode != 0:
                return process.returncode, said, error
        self.fail("it was never disturbed")

    def test_ctrl_c_while_the_first_loads(self):
        status, said, error = self.disturb("planned", lambda process: process.send_signal(signal.SIGINT))
        self.assertEqual((status, said), (1, ["planned"]))
        self.assertRegex(error, "\nreload: cancelled: ")

    def test_ctrl_c_while_the_second_loads(self):
        # So slow that those which the reload waits for still run when it has ended.
        status, said, error = self.disturb("first: ", lambda process: process.send_signal(signal.SIGINT), kernels=1.5)
        self.assertEqual(status, 1)
        self.assertRegex(error, "\nreload: cancelled: ")
        self.assert_groups(said[2:])

    def test_a_shard_that_is_cut_before_it_is_read(self):
        def cut(_):
            with open(self.paths[1] / "model.safetensors", "rb+") as file:
                file.truncate(4096)

        status, said, error = self.disturb("planned", cut)
        self.assertEqual(status, 1)
        self.assertEqual(said[1], f"first: sum of all words {self.sums[0]}")
        self.assertRegex(error, "\nreload: file changed: ")
        self.assertEqual(said[2:], [f"group {group}: not whole" for group in range(LAYERS + 2)])

    def assert_groups(self, lines):
        """A line per group: whole ones, as they are loaded in order, before those that are not."""
        self.assertEqual(len(lines), LAYERS + 2)
        whole = [line.endswith(": the second's") for line in lines]
        self.assertEqual(whole, sorted(whole, reverse=True))
        self.assertFalse(all(whole))
        for group, line in enumerate(lines):
            self.assertRegex(line, f"^group {group}: (the second's|not whole)$")

    def test_another_model_is_refused_before_anything_is_overwritten(self):
        other = dict(self.models[1])
        del other["model.norm.weight"]
        path = save(self.folder / "other", other)
        self.assertEqual(self.expect_refused(r"^reload: tensor not found: .*model\.norm\.weight", self.paths[0], path), "")

    def test_no_checkpoint_there(self):
        self.assertEqual(self.expect_refused("^reload: not found: .*nowhere", self.paths[0], self.folder / "nowhere"), "")

    def test_skips_without_a_gpu(self):
        status, _, error = self.run_example(*self.paths, SLUICE_SIM_DEVICES="0")
        self.assertEqual(status, 77)
        self.assertRegex(error, "^reload: no GPU: ")


main()
