"""Loads a real model through sluice.h, as it is to the host and to a simulated GPU, and cast to the host, and compares every
tensor's digest with the tool's. usage: digests_test.py SLUICE CONTENTS MODEL_FOLDER [SIMULATOR_FOLDER]. Exit status 77:
skipped."""

import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys


def digests_in_c(contents, model, device, *dtype):
    """name -> (dtype, digest)"""
    stream = io.BytesIO(subprocess.run([contents, model, device, *dtype], check=True, stdout=subprocess.PIPE).stdout)
    digests = {}
    while line := stream.readline():
        name, dtype, size = line.decode().rsplit(" ", 2)
        digests[name] = dtype, hashlib.sha256(stream.read(int(size))).hexdigest()
    return digests


def digests_of_tool(sluice, model, *dtype):
    options = [f"--dtype={name}" for name in dtype]
    said = subprocess.run([sluice, "load", model, "--digest", "sha256", "--json", *options], check=True,
                          stdout=subprocess.PIPE).stdout
    return {tensor["name"]: (tensor["dtype"], tensor["digest"]) for tensor in json.loads(said)["tensors"]}


def main():
    sluice, contents, model, *simulator = sys.argv[1:]
    if not pathlib.Path(model).is_dir():
        print("the model is missing: scripts/setup fetches it")
        return 77
    if simulator:
        os.environ["LD_LIBRARY_PATH"] = simulator[0]
    for dtype, devices in ([], ["host", "cuda:0"] if simulator else ["host"]), (["BF16"], ["host"]):
        of_tool = digests_of_tool(sluice, model, *dtype)
        for device in devices:
            in_c = digests_in_c(contents, model, device, *dtype)
            if not in_c or in_c != of_tool:
                print(f"{device} {dtype}: {len(in_c)} tensors, of the tool {len(of_tool)}, and these differ:")
                print(*sorted(name for name in in_c.keys() | of_tool.keys() if in_c.get(name) != of_tool.get(name)))
                return 1
            print(f"{device} {dtype}: {len(in_c)} tensors are the same")
    return 0


if __name__ == "__main__":
    sys.exit(main())
