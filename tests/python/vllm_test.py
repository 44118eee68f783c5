"""vLLM's load format, against a stand-in for the classes that it is made of: what the loader asks of them, and what it
reads. vLLM itself is run by scripts/engine-check."""

import dataclasses
import sys
import types
import unittest

import sluice
from support import Case, content

TENSORS = [
    [("model.embed", "F32", [40, 5]), ("model.layers.0.mlp.experts.0.up.weight", "BF16", [8, 8]),
     ("model.layers.0.mlp.experts.1.up.weight", "BF16", [8, 8]), ("model.layers.0.mlp.experts.1.up.scale", "F32", [2])],
    [("odd [*] name?", "U8", [3]), ("model.rotary.unused", "F32", [7])],
    [("only.unused", "F32", [7])],
]


@dataclasses.dataclass
class LoadConfig:
    load_format: str = "sluice"
    model_loader_extra_config: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Source:
    model_or_path: str
    revision: str = None
    prefix: str = ""
    allow_patterns_overrides: list = None
    is_unused_weight: object = None


class BaseLoader:
    """What sluice.vllm knows of vLLM's DefaultModelLoader."""

    counter_before_loading_weights = 0.0

    def __init__(self, load_config):
        unknown = set(load_config.model_loader_extra_config) - {"num_threads"}
        assert load_config.load_format == "safetensors" and not unknown, unknown
        self.load_config = load_config
        self.local_expert_ids = None

    def _prepare_weights(self, model_name_or_path, revision, fall_back_to_pt, allow_patterns_overrides):
        assert revision is None and allow_patterns_overrides is None and not fall_back_to_pt
        files = sorted(str(path) for path in model_name_or_path.glob("*.safetensors"))
        return str(model_name_or_path), files, bool(files)


class Platform:
    cuda = False
    is_cuda = staticmethod(lambda: Platform.cuda)


def fakes(registered):
    def module(name, **members):
        made = types.ModuleType(name)
        made.__dict__.update(members)
        return name, made

    def register_model_loader(name):
        return lambda loader: registered.setdefault(name, loader)

    class Cuda:
        is_available = staticmethod(lambda: True)  # as on a machine with a GPU that vLLM does not use
        current_device = staticmethod(lambda: 1)

    path = "vllm.model_executor.model_loader"
    return dict([
        module("vllm"), module("vllm.model_executor"), module(path, register_model_loader=register_model_loader),
        module(f"{path}.default_loader", DefaultModelLoader=BaseLoader),
        module(f"{path}.ep_weight_filter",
               should_skip_weight=lambda name, ids: ".experts." in name and name.endswith(".weight")
               and int(name.split(".experts.")[1].split(".")[0]) not in ids),
        module("vllm.platforms", current_platform=Platform),
        module("torch", from_dlpack=lambda tensor: bytes(memoryview(tensor).cast("B")), cuda=Cuda),
    ])


class Vllm(Case):
    def setUp(self):
        super().setUp()
        self.registered = {}
        known = {name: sys.modules.get(name) for name in fakes({})}
        sys.modules.update(fakes(self.registered))
        self.addCleanup(lambda: [sys.modules.pop(name) if its is None else sys.modules.update({name: its})
                                 for name, its in known.items()])
        for number, tensors in enumerate(TENSORS):
            self.shard(tensors, f"model-{number}.safetensors")
        import sluice.vllm
        sluice.vllm._loader = None
        sluice.vllm.register()
        sluice.vllm.register()

    def load(self, source, extra=None, experts=None):
        config = LoadConfig(model_loader_extra_config=extra or {})
        loader = self.registered["sluice"](config)
        self.assertEqual(config.load_format, "sluice", "the caller's is left as it was")
        loader.local_expert_ids = experts
        got = dict(loader._get_weights_iterator(source))
        self.assertGreater(loader.counter_before_loading_weights, 0)
        return got

    def expected(self, wanted=lambda name: True, prefix=""):
        return {prefix + each[0]: content(*each) for tensors in TENSORS for each in tensors if wanted(each[0])}

    def test_gives_all_tensors(self):
        self.assertEqual(self.load(Source(self.folder, prefix="p.")), self.expected(prefix="p."))

    def test_takes_its_own_settings(self):
        got = self.load(Source(self.folder), {"budget": 64 << 20, "device": "cpu", "num_threads": 2})
        self.assertEqual(got, self.expected())

    def test_loads_to_the_device_of_vllms_platform(self):
        self.assertEqual(sluice.vllm._device(), "cpu")
        self.addCleanup(setattr, Platform, "cuda", False)
        Platform.cuda = True
        self.assertEqual(sluice.vllm._device(), "cuda:1")

    def test_without_a_budget_all_may_be_kept(self):
        large = [(f"large.{index}", "U8", [4 << 20]) for index in range(6)]
        self.shard(large, "large.safetensors")
        sys.modules["torch"].from_dlpack = memoryview
        self.addCleanup(setattr, sluice.vllm, "BUDGET", sluice.vllm.BUDGET)
        sluice.vllm.BUDGET = 2  # less than a load takes, so that it is refused where 0 is not told from nothing
        loader = self.registered["sluice"](LoadConfig(model_loader_extra_config={"budget": 0}))
        kept = dict(loader._get_weights_iterator(Source(self.folder)))
        self.assertEqual({name: bytes(kept[name].cast("B")) for name, *_ in large},
                         {each[0]: content(*each) for each in large})

    def test_a_model_that_keeps_tensors_gets_them_all(self):
        mib = 1 << 20
        files = [self.shard([(f"{file}.{index}", "U8", [3 * mib]) for index in range(9)], f"{file}.safetensors") for file in "ab"]
        sys.modules["torch"].from_dlpack = memoryview
        with self.assertLogs("vllm.sluice", "INFO") as told:
            kept = dict(sluice.vllm.weights([str(file) for file in files], "cpu", budget=16 * mib))
        self.assertEqual({name: bytes(its.cast("B")) for name, its in kept.items()},
                         {f"{file}.{index}": content(f"{file}.{index}", "U8", [3 * mib]) for file in "ab" for index in range(9)})
        self.assertIn(f"one of {16 * mib} bytes", told.output[0])
        self.assertLess(len(told.output), 6, "what is kept counts no more, and budgets grow")

    def test_leaves_other_ranks_experts_and_unused_weights_unread(self):
        got = self.load(Source(self.folder, is_unused_weight=lambda name: name.endswith("unused")), experts={0})
        self.assertEqual(got, self.expected(
            lambda name: not name.endswith("unused") and name != "model.layers.0.mlp.experts.1.up.weight"))

    def test_refuses_files_of_other_formats(self):
        for path in self.folder.glob("*.safetensors"):
            path.unlink()
        with self.assertRaises(ValueError):
            self.load(Source(self.folder))

    def test_stops_where_the_model_gives_up(self):
        weights = self.registered["sluice"](LoadConfig())._get_weights_iterator(Source(self.folder))
        next(weights)
        weights.close()
        self.assertEqual(dict(sluice.vllm.weights([str(self.folder / "model-2.safetensors")], "cpu")),
                         {"only.unused": content(*TENSORS[2][0])})


if __name__ == "__main__":
    unittest.main()
