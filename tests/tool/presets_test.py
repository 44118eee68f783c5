#!/usr/bin/env python3
"""The presets of docs/rules/ on small checkpoints with the names of their models: every byte of every parameter.

Method: writes a checkpoint of each model, loads it by its preset as each rank of 1, 2 and 4, and compares digests with
parameters that are cut and put together here, in plain Python, by what the model's papers and engines say of it. The
presets are strict: a tensor that is neither used nor skipped is an error.
Usage: presets_test.py PATH_OF_SLUICE FOLDER_OF_PRESETS [unittest options]
"""

import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

SLUICE = ""
PRESETS = pathlib.Path()
SIZES = {"BF16": 2, "F32": 4, "U8": 1, "F8_E4M3": 1}


class T:
    """A tensor as nested cuts of bytes: row-major."""

    def __init__(self, dtype, shape, content):
        self.dtype, self.shape, self.content = dtype, list(shape), content
        size = SIZES[dtype]
        for dimension in shape:
            size *= dimension
        assert len(content) == size, (shape, len(content))

    def cut(self, dimension, begin, end):
        """Indices begin to end of a dimension."""
        outer = 1
        for size in self.shape[:dimension]:
            outer *= size
        inner = SIZES[self.dtype]
        for size in self.shape[dimension + 1:]:
            inner *= size
        row = self.shape[dimension] * inner
        content = b"".join(self.content[i * row + begin * inner:i * row + end * inner] for i in range(outer))
        return T(self.dtype, self.shape[:dimension] + [end - begin] + self.shape[dimension + 1:], content)

    def part(self, dimension, index, parts):
        size = self.shape[dimension] // parts
        assert size * parts == self.shape[dimension]
        return self.cut(dimension, index * size, (index + 1) * size)

    def seen_as(self, *shape):
        return T(self.dtype, shape, self.content)


def stack(*tensors):
    """Along a new first dimension."""
    return T(tensors[0].dtype, [len(tensors)] + tensors[0].shape, b"".join(t.content for t in tensors))


def rows(*tensors):
    """One below the other."""
    return T(tensors[0].dtype, [sum(t.shape[0] for t in tensors)] + tensors[0].shape[1:],
             b"".join(t.content for t in tensors))


def padded(tensor, count):
    missing = count - tensor.shape[0]
    row = len(tensor.content) // tensor.shape[0] if tensor.shape[0] else 0
    return T(tensor.dtype, [count] + tensor.shape[1:], tensor.content + bytes(missing * row))


def to_f32(tensor):
    """Of BF16, whose bits are the upper half."""
    halves = struct.unpack(f"<{len(tensor.content) // 2}H", tensor.content)
    return T("F32", tensor.shape, struct.pack(f"<{len(halves)}I", *(half << 16 for half in halves)))


class Model:
    def __init__(self, config):
        self.config, self.tensors = config, {}

    def add(self, name, *shape, dtype="BF16"):
        size = SIZES[dtype]
        for dimension in shape:
            size *= dimension
        content = hashlib.shake_128(name.encode()).digest(size)
        if dtype in ("BF16", "F32"):  # no NaN, whose payload a cast may change
            step = SIZES[dtype]
            content = b"".join(content[i:i + step - 1] + bytes([content[i + step - 1] & 0xBF]) for i in range(0, size, step))
        self.tensors[name] = T(dtype, shape, content)

    def add_fp8(self, name, out, inner, block):
        self.add(name + ".weight", out, inner, dtype="F8_E4M3")
        self.add(name + ".weight_scale_inv", -(-out // block), -(-inner // block), dtype="F32")

    def __getitem__(self, name):
        return self.tensors[name]

    def write(self, folder):
        """Two shards, as large models have them."""
        names = list(self.tensors)
        for number, its in enumerate((names[::2], names[1::2])):
            header, end = {}, 0
            for name in its:
                tensor = self[name]
                header[name] = {"dtype": tensor.dtype, "shape": tensor.shape,
                                "data_offsets": [end, end + len(tensor.content)]}
                end += len(tensor.content)
            text = json.dumps(header).encode()
            with open(folder / f"model-{number}.safetensors", "wb") as file:
                file.write(struct.pack("<Q", len(text)) + text)
                for name in its:
                    file.write(self[name].content)
        (folder / "config.json").write_text(json.dumps(self.config))


def llama(tied, biases, kv_heads=2):
    model = Model({"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": kv_heads, "intermediate_size": 24,
                   "num_hidden_layers": 3, "vocab_size": 103, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied})
    model.add("model.embed_tokens.weight", 103, 16)
    for l in range(3):
        p = f"model.layers.{l}."
        for name, out in (("q", 16), ("k", 4 * kv_heads), ("v", 4 * kv_heads)):
            model.add(f"{p}self_attn.{name}_proj.weight", out, 16)
            if biases:
                model.add(f"{p}self_attn.{name}_proj.bias", out)
        model.add(p + "self_attn.o_proj.weight", 16, 16)
        model.add(p + "mlp.gate_proj.weight", 24, 16)
        model.add(p + "mlp.up_proj.weight", 24, 16)
        model.add(p + "mlp.down_proj.weight", 16, 24)
        model.add(p + "input_layernorm.weight", 16)
        model.add(p + "post_attention_layernorm.weight", 16)
        if not biases:
            model.add(p + "self_attn.rotary_emb.inv_freq", 2, dtype="F32")
    model.add("model.norm.weight", 16)
    if not tied:
        model.add("lm_head.weight", 103, 16)
    return model


def fused_qkv(model, p, kind, rank, world, kv_heads):
    copies = max(1, world // kv_heads)
    kv = [model[f"{p}self_attn.{name}_proj.{kind}"].part(0, rank // copies, world // copies) for name in "kv"]
    return rows(model[f"{p}self_attn.q_proj.{kind}"].part(0, rank, world), *kv)


def llama_parameters(model, rank, world, kv_heads=2):
    count = -(-103 // world)
    piece = lambda name: padded(model[name].cut(0, min(103, rank * count), min(103, (rank + 1) * count)), count)
    wanted = {"embed": (0, piece("model.embed_tokens.weight")), "model.norm.weight": (4, model["model.norm.weight"])}
    head = "lm_head.weight" if "lm_head.weight" in model.tensors else "model.embed_tokens.weight"
    wanted["head"] = (4, piece(head))
    for l in range(3):
        p = f"model.layers.{l}."
        its = {f"layers.{l}.qkv": fused_qkv(model, p, "weight", rank, world, kv_heads),
               f"layers.{l}.gate_up": stack(model[p + "mlp.gate_proj.weight"].part(0, rank, world),
                                            model[p + "mlp.up_proj.weight"].part(0, rank, world)),
               p + "self_attn.o_proj.weight": model[p + "self_attn.o_proj.weight"].part(1, rank, world),
               p + "mlp.down_proj.weight": model[p + "mlp.down_proj.weight"].part(1, rank, world)}
        for name in ("input_layernorm.weight", "post_attention_layernorm.weight"):
            its[p + name] = model[p + name]
        if p + "self_attn.q_proj.bias" in model.tensors:
            its[f"layers.{l}.qkv_bias"] = fused_qkv(model, p, "bias", rank, world, kv_heads)
        wanted.update({name: (l + 1, tensor) for name, tensor in its.items()})
    return wanted


def qwen3_moe():
    model = Model({"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
                   "moe_intermediate_size": 12, "num_hidden_layers": 2, "vocab_size": 64, "num_experts": 12,
                   "rope_scaling": None})
    model.add("lm_head.weight", 64, 16)
    model.add("model.embed_tokens.weight", 64, 16)
    model.add("model.norm.weight", 16)
    for l in range(2):
        p = f"model.layers.{l}."
        for name, shape in (("q", (32, 16)), ("k", (16, 16)), ("v", (16, 16)), ("o", (16, 32))):
            model.add(f"{p}self_attn.{name}_proj.weight", *shape)
        for e in range(12):
            model.add(f"{p}mlp.experts.{e}.gate_proj.weight", 12, 16)
            model.add(f"{p}mlp.experts.{e}.up_proj.weight", 12, 16)
            model.add(f"{p}mlp.experts.{e}.down_proj.weight", 16, 12)
        model.add(p + "mlp.gate.weight", 12, 16)
        for name, size in (("input_layernorm", 16), ("post_attention_layernorm", 16), ("self_attn.q_norm", 8),
                           ("self_attn.k_norm", 8)):
            model.add(f"{p}{name}.weight", size)
    return model


def qwen3_moe_parameters(model, rank, world):
    wanted = {"embed": (0, model["model.embed_tokens.weight"].part(0, rank, world)),
              "head": (3, model["lm_head.weight"].part(0, rank, world)),
              "model.norm.weight": (3, model["model.norm.weight"])}
    for l in range(2):
        p = f"model.layers.{l}."
        mine = range(rank * 12 // world, (rank + 1) * 12 // world)
        expert = lambda e, name: model[f"{p}mlp.experts.{e}.{name}_proj.weight"]
        its = {f"layers.{l}.qkv": fused_qkv(model, p, "weight", rank, world, 2),
               p + "self_attn.o_proj.weight": model[p + "self_attn.o_proj.weight"].part(1, rank, world),
               f"layers.{l}.w13": stack(*(stack(expert(e, "gate"), expert(e, "up")) for e in mine)),
               f"layers.{l}.w2": stack(*(expert(e, "down") for e in mine)),
               p + "mlp.gate.weight": to_f32(model[p + "mlp.gate.weight"])}
        for name in ("input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm"):
            its[f"{p}{name}.weight"] = model[f"{p}{name}.weight"]
        wanted.update({name: (l + 1, tensor) for name, tensor in its.items()})
    return wanted


BLOCK = 4


def deepseek(q_lora=True, indexer=False):
    config = {"hidden_size": 18, "num_attention_heads": 8, "intermediate_size": 32, "moe_intermediate_size": 16,
              "n_shared_experts": 2, "n_routed_experts": 8, "first_k_dense_replace": 1, "num_hidden_layers": 3,
              "vocab_size": 64, "kv_lora_rank": 6, "q_lora_rank": 8 if q_lora else None,
              "quantization_config": {"weight_block_size": [128, 128]}}
    model = Model(config)
    model.add("model.embed_tokens.weight", 64, 18)
    for l in range(4):
        p = f"model.layers.{l}."
        if q_lora:
            model.add_fp8(p + "self_attn.q_a_proj", 8, 18, BLOCK)
            model.add(p + "self_attn.q_a_layernorm.weight", 8)
            model.add_fp8(p + "self_attn.q_b_proj", 8 * 6, 8, BLOCK)
        else:
            model.add_fp8(p + "self_attn.q_proj", 8 * 6, 18, BLOCK)
        model.add_fp8(p + "self_attn.kv_a_proj_with_mqa", 9, 18, BLOCK)
        model.add(p + "self_attn.kv_a_layernorm.weight", 6)
        model.add_fp8(p + "self_attn.kv_b_proj", 8 * 8, 6, BLOCK)
        model.add_fp8(p + "self_attn.o_proj", 18, 8 * 4, BLOCK)
        if indexer:
            model.add_fp8(p + "self_attn.indexer.wk", 4, 18, BLOCK)
            model.add(p + "self_attn.indexer.k_norm.bias", 4)
        model.add(p + "input_layernorm.weight", 18)
        model.add(p + "post_attention_layernorm.weight", 18)
        if l < 1:
            mlps = [("mlp.", 32)]
        else:
            mlps = [("mlp.shared_experts.", 32)] + [(f"mlp.experts.{e}.", 16) for e in range(8)]
            model.add(p + "mlp.gate.weight", 8, 18)
            model.add(p + "mlp.gate.e_score_correction_bias", 8, dtype="F32")
        for name, size in mlps:
            model.add_fp8(p + name + "gate_proj", size, 18, BLOCK)
            model.add_fp8(p + name + "up_proj", size, 18, BLOCK)
            model.add_fp8(p + name + "down_proj", 18, size, BLOCK)
    model.add("model.layers.3.eh_proj.weight", 18, 36)
    model.add("model.layers.3.shared_head.norm.weight", 18)
    model.add("model.norm.weight", 18)
    model.add("lm_head.weight", 64, 18)
    return model


def deepseek_parameters(model, rank, world):
    wanted = {"embed": (0, model["model.embed_tokens.weight"].part(0, rank, world)),
              "head": (4, model["lm_head.weight"].part(0, rank, world)),
              "model.norm.weight": (4, model["model.norm.weight"])}
    kinds = (("", "weight"), ("_scale", "weight_scale_inv"))
    for l in range(3):
        p = f"model.layers.{l}."
        its = {}
        cut = {"self_attn.q_b_proj.": 0, "self_attn.q_proj.": 0, "self_attn.kv_b_proj.": 0, "self_attn.o_proj.": 1,
               "mlp.down_proj.": 1, "mlp.shared_experts.down_proj.": 1}
        for name, tensor in model.tensors.items():
            if not name.startswith(p):
                continue
            for middle, dimension in cut.items():
                if name.startswith(p + middle):
                    its[name] = tensor.part(dimension, rank, world)
            whole = ("self_attn.q_a", "self_attn.kv_a", "self_attn.indexer.", "input_layernorm",
                     "post_attention_layernorm", "mlp.gate.")
            if name[len(p):].startswith(whole):
                its[name] = tensor
        fused, middle = ("gate_up", "mlp.") if l < 1 else ("shared", "mlp.shared_experts.")
        for ending, kind in kinds:
            its[f"layers.{l}.{fused}{ending}"] = stack(model[f"{p}{middle}gate_proj.{kind}"].part(0, rank, world),
                                                       model[f"{p}{middle}up_proj.{kind}"].part(0, rank, world))
            if l < 1:
                continue
            mine = range(rank * 8 // world, (rank + 1) * 8 // world)
            expert = lambda e, name: model[f"{p}mlp.experts.{e}.{name}_proj.{kind}"]
            its[f"layers.{l}.w13{ending}"] = stack(*(stack(expert(e, "gate"), expert(e, "up")) for e in mine))
            its[f"layers.{l}.w2{ending}"] = stack(*(expert(e, "down") for e in mine))
        wanted.update({name: (l + 1, tensor) for name, tensor in its.items()})
    return wanted


def gpt_oss():
    model = Model({"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 4,
                   "intermediate_size": 128, "num_local_experts": 4, "num_hidden_layers": 2, "vocab_size": 32})
    model.add("model.embed_tokens.weight", 32, 64)
    for l in range(2):
        p = f"model.layers.{l}."
        for name, out in (("q", 32), ("k", 8), ("v", 8)):
            model.add(f"{p}self_attn.{name}_proj.weight", out, 64)
            model.add(f"{p}self_attn.{name}_proj.bias", out)
        model.add(p + "self_attn.o_proj.weight", 64, 32)
        model.add(p + "self_attn.o_proj.bias", 64)
        model.add(p + "self_attn.sinks", 8)
        model.add(p + "mlp.router.weight", 4, 64)
        model.add(p + "mlp.router.bias", 4)
        model.add(p + "mlp.experts.gate_up_proj_blocks", 4, 256, 2, 16, dtype="U8")
        model.add(p + "mlp.experts.gate_up_proj_scales", 4, 256, 2, dtype="U8")
        model.add(p + "mlp.experts.gate_up_proj_bias", 4, 256)
        model.add(p + "mlp.experts.down_proj_blocks", 4, 64, 4, 16, dtype="U8")
        model.add(p + "mlp.experts.down_proj_scales", 4, 64, 4, dtype="U8")
        model.add(p + "mlp.experts.down_proj_bias", 4, 64)
        model.add(p + "input_layernorm.weight", 64)
        model.add(p + "post_attention_layernorm.weight", 64)
    model.add("model.norm.weight", 64)
    model.add("lm_head.weight", 32, 64)
    return model


def gpt_oss_parameters(model, rank, world, ep):
    tp = world // ep
    wanted = {"embed": (0, model["model.embed_tokens.weight"].part(0, rank, world)),
              "head": (3, model["lm_head.weight"].part(0, rank, world)),
              "model.norm.weight": (3, model["model.norm.weight"])}
    for l in range(2):
        p = f"model.layers.{l}."
        x = p + "mlp.experts."
        its = {f"layers.{l}.qkv": fused_qkv(model, p, "weight", rank, world, 2),
               f"layers.{l}.qkv_bias": fused_qkv(model, p, "bias", rank, world, 2),
               p + "self_attn.o_proj.weight": model[p + "self_attn.o_proj.weight"].part(1, rank, world),
               p + "self_attn.sinks": model[p + "self_attn.sinks"].part(0, rank, world),
               x + "down_proj_bias": model[x + "down_proj_bias"].part(0, rank // tp, ep)}
        for name in ("self_attn.o_proj.bias", "mlp.router.weight", "mlp.router.bias", "input_layernorm.weight",
                     "post_attention_layernorm.weight"):
            its[p + name] = model[p + name]
        for kind in ("blocks", "scales", "bias"):
            of_ep = model[f"{x}gate_up_proj_{kind}"].part(0, rank // tp, ep)
            experts = []
            for e in range(of_ep.shape[0]):
                expert = of_ep.cut(0, e, e + 1).seen_as(*of_ep.shape[1:])
                take_turns = [expert.cut(0, row, row + 1) for row in range(256)]
                mine = range(rank % tp * 128 // tp, (rank % tp + 1) * 128 // tp)
                experts.append(stack(rows(*(take_turns[2 * row] for row in mine)),
                                     rows(*(take_turns[2 * row + 1] for row in mine))))
            its[f"layers.{l}.gate_up_{kind}"] = stack(*experts)
            if kind != "bias":
                name = f"{x}down_proj_{kind}"
                its[name] = model[name].part(0, rank // tp, ep).part(2, rank % tp, tp)
        wanted.update({name: (l + 1, tensor) for name, tensor in its.items()})
    return wanted


def gemma(prefix):
    numbers = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8,
               "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 64}
    model = Model({"text_config": numbers, "vision_config": {"hidden_size": 5}} if prefix else numbers)
    model.add(prefix + "model.embed_tokens.weight", 64, 16)
    for l in range(2):
        p = f"{prefix}model.layers.{l}."
        for name, shape in (("q", (32, 16)), ("k", (8, 16)), ("v", (8, 16)), ("o", (16, 32))):
            model.add(f"{p}self_attn.{name}_proj.weight", *shape)
        model.add(p + "mlp.gate_proj.weight", 24, 16)
        model.add(p + "mlp.up_proj.weight", 24, 16)
        model.add(p + "mlp.down_proj.weight", 16, 24)
        for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            model.add(f"{p}{name}_layernorm.weight", 16)
        model.add(p + "self_attn.q_norm.weight", 8)
        model.add(p + "self_attn.k_norm.weight", 8)
    model.add(prefix + "model.norm.weight", 16)
    if prefix:
        model.add("vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight", 4, 4)
        model.add("vision_tower.vision_model.post_layernorm.weight", 4)
        model.add("multi_modal_projector.mm_soft_emb_norm.weight", 4)
    return model


def gemma_parameters(model, rank, world, prefix):
    wanted = {"embed": (0, model[prefix + "model.embed_tokens.weight"].part(0, rank, world)),
              prefix + "model.norm.weight": (3, model[prefix + "model.norm.weight"])}
    for l in range(2):
        p = f"{prefix}model.layers.{l}."
        its = {f"layers.{l}.qkv": fused_qkv(model, p, "weight", rank, world, 1),
               f"layers.{l}.gate_up": stack(model[p + "mlp.gate_proj.weight"].part(0, rank, world),
                                            model[p + "mlp.up_proj.weight"].part(0, rank, world)),
               p + "self_attn.o_proj.weight": model[p + "self_attn.o_proj.weight"].part(1, rank, world),
               p + "mlp.down_proj.weight": model[p + "mlp.down_proj.weight"].part(1, rank, world)}
        its.update({name: tensor for name, tensor in model.tensors.items()
                    if name.startswith(p) and name.endswith("norm.weight")})
        wanted.update({name: (l + 1, tensor) for name, tensor in its.items()})
    return wanted


class Presets(unittest.TestCase):
    def run_tool(self, command, folder, preset, options):
        result = subprocess.run([SLUICE, command, str(folder), "--rules", str(PRESETS / preset), *options],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=240)
        self.assertEqual((result.returncode, result.stderr), (0, b""), result)
        return result.stdout.decode()

    def check_rank(self, folder, preset, options, wanted, device="host"):
        loaded = json.loads(self.run_tool("load", folder, preset, [*options, "--digest", "sha256", "--json"]))
        got = {entry["name"]: entry for entry in loaded["tensors"] if entry["device"] == device}
        self.assertEqual(sorted(got), sorted(wanted))
        for name, (group, tensor) in wanted.items():
            with self.subTest(name):
                entry = got[name]
                self.assertEqual((entry["dtype"], entry["shape"], entry["group"]), (tensor.dtype, tensor.shape, group))
                self.assertEqual(entry["digest"], hashlib.sha256(tensor.content).hexdigest())

    def check(self, preset, model, parameters, sets=()):
        with tempfile.TemporaryDirectory(prefix="sluice-presets-") as folder:
            folder = pathlib.Path(folder)
            model.write(folder)
            own = [argument for name in sets for argument in ("--set", name)]
            for world in (1, 2, 4):
                for rank in range(world):
                    with self.subTest(preset, world=world, rank=rank):
                        options = [*own, "--set", f"world={world}", "--set", f"rank={rank}"]
                        self.check_rank(folder, preset, options, parameters(model, rank, world))
                        # The plan as rules, with numbers in place of names, asks for the same.
                        numbers = folder / "numbers"
                        numbers.write_text(self.run_tool("plan", folder, preset, [*options, "--as-rules"]))
                        self.check_rank(folder, numbers, [], parameters(model, rank, world))

    def test_llama(self):
        self.check("llama.rules", llama(tied=False, biases=False), llama_parameters)

    def test_llama_with_a_tied_head_and_biases(self):
        self.check("llama.rules", llama(tied=True, biases=True), llama_parameters)

    def test_llama_with_one_head_of_keys_and_values(self):
        self.check("llama.rules", llama(tied=True, biases=False, kv_heads=1),
                   lambda model, rank, world: llama_parameters(model, rank, world, 1))

    def test_qwen3_moe(self):
        self.check("qwen3-moe.rules", qwen3_moe(), qwen3_moe_parameters)

    def test_deepseek_fp8(self):
        self.check("deepseek-fp8.rules", deepseek(), deepseek_parameters, [f"block={BLOCK}"])

    def test_deepseek_fp8_without_a_small_query_and_with_an_indexer(self):
        self.check("deepseek-fp8.rules", deepseek(q_lora=False, indexer=True), deepseek_parameters, [f"block={BLOCK}"])

    def test_gpt_oss_with_whole_experts(self):
        self.check("gpt-oss.rules", gpt_oss(), lambda model, rank, world: gpt_oss_parameters(model, rank, world, world))

    def test_gpt_oss_with_every_expert_cut(self):
        self.check("gpt-oss.rules", gpt_oss(), lambda model, rank, world: gpt_oss_parameters(model, rank, world, 1),
                   ["ep=1"])

    def test_gemma(self):
        self.check("gemma.rules", gemma(""), lambda model, rank, world: gemma_parameters(model, rank, world, ""))

    def test_gemma_that_sees(self):
        prefix = "language_model."
        self.check("gemma.rules", gemma(prefix), lambda model, rank, world: gemma_parameters(model, rank, world, prefix))

    def test_every_preset_is_tested(self):
        source = pathlib.Path(__file__).read_text()
        for preset in PRESETS.iterdir():
            self.assertIn(f'"{preset.name}"', source)

    def test_devices_are_ranks(self):
        model = qwen3_moe()
        with tempfile.TemporaryDirectory(prefix="sluice-presets-") as folder:
            folder = pathlib.Path(folder)
            model.write(folder)
            planned = json.loads(self.run_tool("plan", folder, "qwen3-moe.rules", ["--device", "cuda:0,cuda:1", "--json"]))
            for rank, device in enumerate(("cuda:0", "cuda:1")):
                wanted = qwen3_moe_parameters(model, rank, 2)
                got = {entry["name"]: entry for entry in planned["tensors"] if entry["device"] == device}
                self.assertEqual(sorted(got), sorted(wanted))
                for name, (group, tensor) in wanted.items():
                    self.assertEqual((got[name]["shape"], got[name]["group"]), (tensor.shape, group), name)

    def test_a_configuration_of_another_model_is_seen(self):
        model = llama(tied=False, biases=False)
        model.config["num_hidden_layers"] = 4
        with tempfile.TemporaryDirectory(prefix="sluice-presets-") as folder:
            model.write(pathlib.Path(folder))
            result = subprocess.run([SLUICE, "plan", folder, "--rules", str(PRESETS / "llama.rules")],
                                    stdin=subprocess.DEVNULL, capture_output=True, timeout=240)
            self.assertEqual((result.returncode, result.stdout), (1, b""))
            self.assertIn("(l = 3)", result.stderr.decode())
            self.assertRegex(result.stderr.decode(), r"llama\.rules:\d+:1")


if __name__ == "__main__":
    SLUICE = sys.argv.pop(1)
    PRESETS = pathlib.Path(sys.argv.pop(1))
    unittest.main()
