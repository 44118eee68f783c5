"""Loads a model as it is and cast to BF16, and compares every tensor's digest with the reference package's bytes.

usage: demo_model.py SLUICE MODEL_FOLDER
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys

import ml_dtypes
import safetensors.numpy

# The layers are alike: of layers 1 and up only a summary is shown.
LATER_LAYER = re.compile(r"\.layer\.[1-9]")


def load(sluice, model, *options):
    command = [sluice, "load", model, *options, "--digest", "sha256", "--json"]
    print(f"   {' '.join(command)}")
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def differences(loaded, expected):
    """Names of tensors that are missing, unexpected or other than expected: name -> (dtype, shape, digest)."""
    got = {t["name"]: (t["dtype"], tuple(t["shape"]), t["digest"]) for t in loaded["tensors"]}
    return sorted(name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name))


def main():
    sluice, model = sys.argv[1:]
    arrays = {}
    for shard in sorted(pathlib.Path(model).glob("*.safetensors")):
        arrays.update(safetensors.numpy.load_file(shard))

    print("1. Load a real model, as it is and cast to BF16\n")
    loads = {"as it is": load(sluice, model), "as BF16": load(sluice, model, "--dtype", "BF16")}

    # Only floating-point tensors are cast; those of this model are F32, the others I64.
    same = {name: ({"f": "F32", "i": "I64"}[a.dtype.kind], a.shape, digest(a)) for name, a in arrays.items()}
    bf16 = {name: ("BF16", a.shape, digest(a.astype(ml_dtypes.bfloat16))) if a.dtype.kind == "f" else same[name]
            for name, a in arrays.items()}
    wrong = {"as it is": differences(loads["as it is"], same), "as BF16": differences(loads["as BF16"], bf16)}

    print("\n2. Compare each tensor with what the reference package reads: sha256 of all its bytes\n")
    print(f"   {'tensor':<56} {'shape':>12}   {'as it is':<22} as BF16")
    later = 0
    for tensor, cast in zip(loads["as it is"]["tensors"], loads["as BF16"]["tensors"]):
        name = tensor["name"]
        right = all(name not in names for names in wrong.values())
        if LATER_LAYER.search(name) and right:
            later += 1
            continue
        shape = " x ".join(map(str, tensor["shape"]))
        columns = [f"{t['dtype']:<5}{t['digest'][:10]}… {'WRONG' if name in wrong[how] else 'same'}"
                   for how, t in (("as it is", tensor), ("as BF16", cast))]
        print(f"   {name:<56} {shape:>12}   {columns[0]:<22} {columns[1]}")
    print(f"   and {later} more of the later layers, all the same")
    print()
    for how, loaded in loads.items():
        stats = loaded["stats"]
        count = len(loaded["tensors"])
        print(f"   {how}: {count - len(wrong[how])} of {len(arrays)} tensors right; {stats['delivered_bytes'] / 1e6:.1f} MB "
              f"in {stats['seconds'] * 1e3:.0f} ms ({stats['reader']}, {stats['io']})")
        for name in wrong[how]:
            print(f"   WRONG: {name}")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
