"""Who races: other people's loaders, with their versions and the settings that each is tried with, and where they are
installed. A peer's first setting is its default.

What is not here: kvikio and NIXL read bytes and know nothing of tensors; tensorizer and ServerlessLLM load formats of
their own.
"""

import dataclasses
import hashlib
import os
import subprocess
import sys

# All of them give torch's tensors.
COMMON = ("torch==2.13.0", "numpy==2.4.6")
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


@dataclasses.dataclass
class Setting:
    options: dict = dataclasses.field(default_factory=dict)  # arguments of load_with.py's function
    environment: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Peer:
    name: str
    loader: str  # in load_with.py
    packages: tuple
    settings: dict  # what it is called -> Setting

    def place(self, folder):
        return folder / "+".join(self.packages)


def mapped_and_copied():
    """load_file() gives mappings of the file; copies are memory of one's own."""
    return {"load_file, copied": Setting({"clone": "true"}),
            "load_file, copied, huge pages": Setting({"clone": "true"}, HUGE_PAGES),
            "load_file by pread, huge pages": Setting({"backend": "pread"}, HUGE_PAGES)}


PEERS = (
    Peer("safetensors 0.8.0", "safetensors", ("safetensors==0.8.0",), mapped_and_copied()),
    Peer("safetensors 0.9.0rc1", "safetensors", ("safetensors==0.9.0rc1",), mapped_and_copied()),
    Peer("safetensors 0.9.0rc1, prefetch", "safetensors_prefetch", ("safetensors==0.9.0rc1",), {"defaults": Setting()}),
    Peer("fastsafetensors 0.5.0", "fastsafetensors", ("fastsafetensors==0.5.0",), {
        "defaults": Setting(),
        "huge pages": Setting({}, HUGE_PAGES),
        "huge pages, 4 threads": Setting({"max_threads": 4}, HUGE_PAGES),
        "huge pages, buffered, 2 threads": Setting({"max_threads": 2}, {**HUGE_PAGES, "FASTSAFETENSORS_ODIRECT": "0"}),
    }),
    Peer("Run:ai Model Streamer 0.17.0", "runai", ("runai-model-streamer==0.17.0", "humanize==4.17.0"), {
        "defaults": Setting(),
        "huge pages": Setting({}, HUGE_PAGES),
        "huge pages, 8 reads of 1 MiB": Setting({}, {**HUGE_PAGES, "RUNAI_STREAMER_FS_QUEUE_DEPTH": "8",
                                                     "RUNAI_STREAMER_FS_CHUNK_BYTESIZE": str(1 << 20)}),
        "huge pages, buffered, 2 threads": Setting({}, {**HUGE_PAGES, "RUNAI_STREAMER_FS_STRATEGY": "sync_buffered",
                                                        "RUNAI_STREAMER_CONCURRENCY": "2"}),
    }),
    Peer("cattensors 0.2.0", "cattensors",
         ("cattensors==0.2.0", "safetensors==0.7.0", "packaging==26.4"),
         {"load_file of safetensors 0.7.0, copied": Setting({"clone": "true"})}),
    Peer("InstantTensor 0.2.2", "instanttensor", ("instanttensor==0.2.2",), {"defaults": Setting()}),
)


def install(folder, say):
    """Makes an environment with torch in `folder`, and beside it a folder for each peer's packages, since some want
    different versions of one. Returns its Python, and by name why a peer could not be had. Does only what is not done."""
    python = folder / "venv/bin/python"
    refused = {}
    if not is_done(folder / "venv", COMMON):
        say("installing torch for the peers: 5 GB, some two minutes")
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder / "venv"], check=True)
        subprocess.run([*pip(python), "install", "--quiet", *COMMON], check=True)
        mark_done(folder / "venv", COMMON)
    for peer in PEERS:
        own = peer.place(folder)
        if is_done(own, peer.packages):
            continue
        say(f"installing {peer.name}")
        done = subprocess.run([*pip(python), "install", "--quiet", "--no-deps", "--upgrade", "--target", own,
                               *peer.packages], capture_output=True, text=True)
        if done.returncode:
            refused[peer.name] = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        else:
            mark_done(own, peer.packages)
    return python, refused


def pip(python):
    return [python, "-m", "pip", "--disable-pip-version-check"]


def mark(packages):
    return hashlib.sha256(" ".join(packages).encode()).hexdigest()


def is_done(folder, packages):
    done = folder / ".packages"
    return done.exists() and done.read_text() == mark(packages)


def mark_done(folder, packages):
    os.makedirs(folder, exist_ok=True)
    (folder / ".packages").write_text(mark(packages))
