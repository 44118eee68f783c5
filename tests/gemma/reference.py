"""Gemma 3 in NumPy, in F64, written from the model's definition: what the engine's logits are compared with.

A small model of random numbers has the shape of a real one: layers that slide and layers that do not, fewer kv heads than
heads, heads wider than hidden / heads, norms that are not 1, and a vocabulary that two ranks cannot halve.
"""

import json

import numpy

SHARDS = 3


def config(kv_heads):
    layers = 7
    return {"model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh", "attention_bias": False,
            "rope_scaling": None, "attn_logit_softcapping": None, "final_logit_softcapping": None,
            "tie_word_embeddings": True, "vocab_size": 301, "hidden_size": 72, "intermediate_size": 104,
            "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": kv_heads, "head_dim": 32,
            "sliding_window": 8, "rope_local_base_freq": 10000.0, "rope_theta": 1000000.0,
            "query_pre_attn_scalar": 24, "rms_norm_eps": 1e-6,
            "layer_types": ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(layers)]}


def random_tensors(config, seed):
    """Names, in Hugging Face's spelling, to F32 values that BF16 holds exactly."""
    random = numpy.random.default_rng(seed)
    hidden, inner, head = (config[key] for key in ("hidden_size", "intermediate_size", "head_dim"))
    q, kv = (config[key] * head for key in ("num_attention_heads", "num_key_value_heads"))
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, shape in {"self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden),
                            "self_attn.v_proj": (kv, hidden), "self_attn.o_proj": (hidden, q),
                            "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
                            "mlp.down_proj": (hidden, inner), "self_attn.q_norm": (head,), "self_attn.k_norm": (head,),
                            "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
                            "pre_feedforward_layernorm": (hidden,), "post_feedforward_layernorm": (hidden,)}.items():
            shapes[f"{prefix}{name}.weight"] = shape
    return {name: as_bf16(random.normal(0, 0.3 if len(shape) == 1 else shape[-1] ** -0.5, shape))
            for name, shape in shapes.items()}


def as_bf16(values):
    """Rounded to BF16, to nearest and ties to even, in F32."""
    bits = numpy.ascontiguousarray(values, numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(numpy.uint32).view(numpy.float32)


def save(folder, config, tensors):
    """As safetensors of BF16 in shards, with an index, and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    names, weight_map = sorted(tensors), {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        header, data = {}, b""
        for name in names[shard::SHARDS]:  # scattered: a layer's tensors come from several shards
            begin = len(data)
            data += (tensors[name].view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes()
            header[name] = {"dtype": "BF16", "shape": tensors[name].shape, "data_offsets": (begin, len(data))}
            weight_map[name] = file
        text = json.dumps(header).encode()
        (folder / file).write_bytes(len(text).to_bytes(8, "little") + text + data)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def logits(config, tensors, tokens):
    """What follows each token, a row per token: a pass over all of them at once, without a cache."""
    weights = {name: values.astype(numpy.float64) for name, values in tensors.items()}
    hidden = config["hidden_size"]

    def norm(x, name):
        scale = numpy.sqrt(numpy.mean(x * x, axis=-1, keepdims=True) + config["rms_norm_eps"])
        return x / scale * (1 + weights[f"{name}.weight"])

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T

    embeddings = weights["model.embed_tokens.weight"]
    x = embeddings[tokens] * float(as_bf16(numpy.array([hidden ** 0.5]))[0])
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        before = norm(x, prefix + "input_layernorm")
        seen = attention(config, config["layer_types"][layer], before, prefix + "self_attn.", norm, linear)
        x = x + norm(linear(seen, prefix + "self_attn.o_proj"), prefix + "post_attention_layernorm")
        before = norm(x, prefix + "pre_feedforward_layernorm")
        gate = linear(before, prefix + "mlp.gate_proj")
        gelu = 0.5 * gate * (1 + numpy.tanh((2 / numpy.pi) ** 0.5 * (gate + 0.044715 * gate ** 3)))
        fed = linear(gelu * linear(before, prefix + "mlp.up_proj"), prefix + "mlp.down_proj")
        x = x + norm(fed, prefix + "post_feedforward_layernorm")
    return norm(x, "model.norm") @ embeddings.T


def attention(config, layer_type, x, prefix, norm, linear):
    count, width, heads, kv_heads = (len(x), *(config[key] for key in (
        "head_dim", "num_attention_heads", "num_key_value_heads")))
    sliding = layer_type == "sliding_attention"
    base = config["rope_local_base_freq" if sliding else "rope_theta"]
    position = numpy.arange(count)
    angles = position[:, None, None] * base ** (-numpy.arange(0, width, 2) / width)

    def rotated(x):
        first, second = x[..., :width // 2], x[..., width // 2:]
        return numpy.concatenate([first * numpy.cos(angles) - second * numpy.sin(angles),
                                  second * numpy.cos(angles) + first * numpy.sin(angles)], axis=-1)

    queries = rotated(norm(linear(x, prefix + "q_proj").reshape(count, heads, width), prefix + "q_norm"))
    keys = rotated(norm(linear(x, prefix + "k_proj").reshape(count, kv_heads, width), prefix + "k_norm"))
    values = linear(x, prefix + "v_proj").reshape(count, kv_heads, width)
    keys, values = (numpy.repeat(a, heads // kv_heads, axis=1) for a in (keys, values))

    scores = numpy.einsum("qhd,khd->hqk", queries, keys) * config["query_pre_attn_scalar"] ** -0.5
    distance = position[:, None] - position[None, :]
    visible = (distance >= 0) & (distance < (config["sliding_window"] if sliding else count))
    scores = numpy.where(visible, scores, -numpy.inf)
    shares = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return numpy.einsum("hqk,khd->qhd", shares, values).reshape(count, heads * width)
