"""vLLM's load format "sluice": `vllm serve MODEL --load-format sluice`. vLLM finds register() by its entry point
vllm.general_plugins, and calls it in every process. Nothing of vLLM is replaced. docs/vllm.md has the guide."""

import copy
import inspect
import logging
import time

import sluice
from sluice import _sluice

FORMAT = "sluice"
BUDGET = 1 << 30
OWN_KEYS = ("budget", "device")

_LOGGER = logging.getLogger("vllm.sluice")  # vLLM says where that goes

_loader = None


def register():
    """Makes the load format known. May be called again."""
    global _loader
    if _loader is not None:
        return
    from vllm.model_executor.model_loader import register_model_loader
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    _loader = register_model_loader(FORMAT)(_make(DefaultModelLoader)) or True


def _make(base):
    """The loader: `base`, but for where the tensors of safetensors files come from."""

    class SluiceModelLoader(base):
        def __init__(self, load_config):
            config = copy.copy(load_config)
            extra = dict(config.model_loader_extra_config or {})
            self._own = {key: extra.pop(key) for key in OWN_KEYS if key in extra}
            config.model_loader_extra_config = extra
            config.load_format = "safetensors"  # which files there are is decided as for these
            super().__init__(config)

        def _get_weights_iterator(self, source):
            files = _files(self, source)
            skip = _skip(self, source)
            if self.counter_before_loading_weights == 0.0:
                self.counter_before_loading_weights = time.perf_counter()
            device = self._own.get("device") or _device()
            tensors = weights(files, device, skip, int(self._own.get("budget", BUDGET)))
            return ((source.prefix + name, tensor) for name, tensor in _decoded(tensors))

    return SluiceModelLoader


def weights(files, device, skip=lambda name: False, budget=BUDGET):
    """(name, torch.Tensor) of all tensors of `files` but those whose names `skip` takes, which are not read. Each tensor's
    memory is given back when nobody has it any more, and no more than `budget` bytes are there at a time (0: no bound): two
    files are on their way together, with half of it each. Where a model keeps so many tensors that nothing more arrives,
    or two in a row are larger than their budget, they are the model's memory from then on, and what is left comes with
    twice the budget."""
    import torch

    budget //= 2
    coming, ahead = iter(files), []  # of those ahead: the checkpoint, what is left of it, and its load
    while True:
        while len(ahead) < 2 and (file := next(coming, None)) is not None:
            checkpoint = sluice.open(file)
            names = dict.fromkeys(name for name in checkpoint.names if not skip(name))
            if names:
                ahead.append([checkpoint, names, _begin(checkpoint, names, device, budget)])
        if not ahead:
            return
        checkpoint, left, load = ahead[0]
        with load:
            for tensor in _until_held_up(load):
                name, its = tensor.name, torch.from_dlpack(tensor)
                del tensor, left[name]
                yield name, its
                del its
        if not left:
            ahead.pop(0)
            continue
        budget *= 2
        _LOGGER.info("what the model has of %s is all that the budget has room for: the rest comes with one of %d bytes",
                     checkpoint.path, budget)
        for each in ahead:  # the engine runs one load after the other: what is left of the first comes first
            each[2].close()
        for each in ahead:
            each[2] = _begin(*each[:2], device, budget)


def _begin(checkpoint, names, device, budget):
    return sluice.load(checkpoint, device, select=[_sluice.exact_pattern(name) for name in names], budget=budget)


def _until_held_up(load):
    """The tensors that there is memory for while those that were handed out before are kept: all, as a rule."""
    arrivals = iter(load)
    while True:
        try:
            _, tensor = next(arrivals)
        except StopIteration:
            return
        except sluice.Error:
            progress = load.progress()
            if progress.finished:
                raise
            if progress.held_up:
                return
            continue  # somebody let go of some in the meantime
        yield tensor
        del tensor, _


def _device():
    """Where this process has its parameters, if sluice loads there. torch alone may know GPUs that vLLM does not use, and
    calls AMD's cuda, too."""
    from vllm.platforms import current_platform

    if not current_platform.is_cuda():
        return "cpu"
    import torch

    return f"cuda:{torch.cuda.current_device()}"


def _files(loader, source):
    """The safetensors files that vLLM would read. What it is asked by differs from version to version."""
    asked = {
        "model_name_or_path": source.model_or_path, "subfolder": getattr(source, "subfolder", None), "revision": source.revision,
        "fall_back_to_pt": False, "allow_patterns_overrides": source.allow_patterns_overrides,
    }
    known = inspect.signature(loader._prepare_weights).parameters
    folder, files, is_safetensors, *rest = loader._prepare_weights(**{key: asked[key] for key in asked if key in known})
    if not is_safetensors:
        raise ValueError(f"load format {FORMAT} reads safetensors files, and {folder} has others: {files[:3]}")
    prefixes = getattr(loader, "_encoder_only_lm_prefixes", None)
    if prefixes is not None and rest:
        from vllm.model_executor.model_loader.weight_utils import filter_mm_encoder_only_safetensors_files

        files = filter_mm_encoder_only_safetensors_files(
            files, folder, rest[0], prefixes, weights_mapper=loader._encoder_only_weights_mapper)
    return sorted(files)


def _skip(loader, source):
    """Which names are not to be read: of other ranks' experts, and what the model does not use."""
    unused = getattr(source, "is_unused_weight", None)
    experts = getattr(loader, "local_expert_ids", None)
    if experts is not None:
        from vllm.model_executor.model_loader.ep_weight_filter import should_skip_weight
    return lambda name: (unused is not None and unused(name)) or (experts is not None and should_skip_weight(name, experts))


def _decoded(tensors):
    """As the base class decodes scales, where it does."""
    try:
        from vllm.model_executor.model_loader.csf_scales import decode_csf_scale_streams
    except ImportError:
        return tensors
    return decode_csf_scale_streams(tensors)
