"""Compares what engines have after loading with their own loaders and with sluice: digests of all parameters, and the
tokens that they generate. Run by scripts/engine-check.

usage: engine_check.py FOLDER
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time

TOKENS = 8
PROMPT = [1, 5, 9, 13, 2]


def make_models(folder):
    """Random, without a hub: a small Llama in three shards, and a Qwen3 with eight experts."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3MoeConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    common = {"vocab_size": 1024, "hidden_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4,
              "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 512, "dtype": "bfloat16"}
    configurations = {
        "llama": LlamaConfig(intermediate_size=512, **common),
        "qwen3-moe": Qwen3MoeConfig(intermediate_size=512, moe_intermediate_size=128, num_experts=8, num_experts_per_tok=2,
                                    decoder_sparse_step=1, **common),
    }
    for name, configuration in configurations.items():
        path = folder / name
        if not (path / "config.json").exists():
            torch.manual_seed(7)
            AutoModelForCausalLM.from_config(configuration).to(torch.bfloat16).save_pretrained(path, max_shard_size="2MB")
        yield path


def digest(named):
    """Of all parameters, names and bytes: how many they are, how large, and their digest."""
    import torch

    total = hashlib.sha256()
    count = size = 0
    for name, its in sorted(named, key=lambda pair: pair[0]):
        count += 1
        size += its.nbytes
        total.update(name.encode())
        total.update(its.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return f"{count} | {size} | {total.hexdigest()[:16]}"


def with_vllm(path, load_format):
    from vllm import LLM, SamplingParams
    from vllm.model_executor.model_loader import base_loader

    # What has arrived is packed for the processor then, and most parameters are empty.
    arrived = []
    process = base_loader.process_weights_after_loading

    def process_what_arrived(model, *rest):
        arrived.append(digest(model.named_parameters()))
        process(model, *rest)

    base_loader.process_weights_after_loading = process_what_arrived
    engine = LLM(model=str(path), load_format=load_format, dtype="float32", enforce_eager=True, skip_tokenizer_init=True,
                 max_model_len=256)
    said = engine.generate([{"prompt_token_ids": PROMPT}], SamplingParams(temperature=0, max_tokens=TOKENS, detokenize=False))
    return arrived[0], list(said[0].outputs[0].token_ids)


def with_transformers(path, patched):
    import contextlib

    import torch
    import sluice

    with sluice.patch() if patched else contextlib.nullcontext():
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(path)
    said = model.generate(torch.tensor([PROMPT]), max_new_tokens=TOKENS, do_sample=False)
    return digest(model.state_dict().items()), said[0, len(PROMPT):].tolist()


def with_accelerate(path, patched):
    import contextlib

    import accelerate
    import sluice
    from transformers import AutoConfig, AutoModelForCausalLM

    with accelerate.init_empty_weights():
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path))
    with sluice.patch() if patched else contextlib.nullcontext():
        accelerate.load_checkpoint_in_model(model, str(path), device_map={"": "cpu"})
    return digest(model.state_dict().items()), []


def child(engine, path, how):
    run = {"vllm": with_vllm, "transformers": with_transformers, "accelerate": with_accelerate}[engine]
    result = run(pathlib.Path(path), how if engine == "vllm" else how == "sluice")
    print("\nRESULT " + json.dumps(result))


def run(engine, path, how):
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1",
                   "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    began = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, "--child", engine, str(path), how], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seconds = time.perf_counter() - began
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not results:
        sys.exit(f"{engine}, {path.name}, {how}: status {done.returncode}\n{done.stdout[-4000:]}")
    return json.loads(results[-1].removeprefix("RESULT ")), seconds


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    differ = 0
    models = list(make_models(folder))
    print("| engine | model | loader | parameters | bytes | digest | tokens | process s |")
    print("| --- | --- | --- | ---: | ---: | --- | --- | ---: |")
    for path in models:
        # accelerate by itself does not stack a checkpoint's experts into the model's parameters.
        for engine in ("vllm", "transformers", "accelerate")[:2 if path.name == "qwen3-moe" else 3]:
            rows = {how: run(engine, path, how) for how in ("safetensors", "sluice")}
            for how, ((its, tokens), seconds) in rows.items():
                print(f"| {engine} | {path.name} | {how} | {its} | {' '.join(map(str, tokens))} | {seconds:.1f} |", flush=True)
            differ += rows["safetensors"][0] != rows["sluice"][0]
    print(f"\n{differ} differ" if differ else "\nall the same")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
