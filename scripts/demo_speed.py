"""Loads a checkpoint in shards cold and warm, in turns with what the machine itself is capable of, and prints a table.

usage: demo_speed.py SLUICE FOLDER [BYTES]

Cold: nothing of it in the page cache, which is asked before each run. The limit: fio's direct reads with io_uring, into
huge pages. Warm: all of it in the page cache. The limit: two threads of pread into fresh huge pages. Whoever was best in
the run, the limit or sluice, is 100 %.
"""

import ctypes
import json
import mmap
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time

import numpy

import demo_checkpoint

ROUNDS = 3
PAGE = mmap.PAGESIZE
MADV_POPULATE_WRITE = 23
libc = ctypes.CDLL(None, use_errno=True)


def cached_bytes(path):
    """Bytes of a file that are in the page cache: from cachestat, or from mincore where the kernel is older than 6.5."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        whole = (ctypes.c_uint64 * 2)(0, size)
        counts = (ctypes.c_uint64 * 5)()
        if libc.syscall(451, file.fileno(), whole, counts, 0) == 0:
            return min(counts[0] * PAGE, size)
        with mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as pages:
            view = numpy.frombuffer(pages, numpy.uint8)
            resident = (ctypes.c_ubyte * (-(-size // PAGE)))()
            libc.mincore(ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(size), resident)
            del view
            return min(sum(byte & 1 for byte in resident) * PAGE, size)


def make_cold(files):
    for _ in range(20):
        for path in files:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if not any(map(cached_bytes, files)):
            return True
        time.sleep(0.1)
    return False


def make_warm(files):
    buffer = memoryview(bytearray(4 << 20))
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return all(cached_bytes(path) == os.path.getsize(path) for path in files)


def fresh_memory(size):
    """Huge pages, none of them touched."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def warm_up_memory(size):
    """Touches as much memory as a load needs and lets it go. A virtual machine takes time to get memory back that it has
    not used for a second; without this, who runs first would pay for it."""
    with fresh_memory(size) as memory:
        try:
            memory.madvise(MADV_POPULATE_WRITE)
        except OSError:
            memory[::PAGE] = bytes(-(-size // PAGE))


class Failed(Exception):
    pass


def cpu_seconds(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def sluice(tool, checkpoint, *options):
    command = [tool, "load", str(checkpoint), *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(done.stderr.strip())
    return json.loads(done.stdout)


def run_sluice(tool, checkpoint, *options):
    stats = sluice(tool, checkpoint, *options)["stats"]
    return stats["bytes"] / stats["seconds"] / 1e9, stats["cpu_seconds"] / stats["bytes"] * 1e9


def run_fio(files, block, depth, engine="io_uring"):
    options = ["--fixedbufs", "--registerfiles"] if engine == "io_uring" else []
    command = ["fio", "--name=limit", "--readonly", "--rw=read", "--direct=1", f"--ioengine={engine}", f"--bs={block}",
               f"--iodepth={depth}", "--file_service_type=sequential", "--output-format=json",
               f"--filename={':'.join(map(str, files))}", *options]
    environment = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise Failed(done.stderr.strip() or done.stdout.strip())
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    read = job["read"]
    seconds = read["runtime"] / 1e3
    return (read["io_bytes"] / seconds / 1e9,
            (job["usr_cpu"] + job["sys_cpu"]) / 100 * seconds / (read["io_bytes"] / 1e9))


def run_pread(files, threads=2, chunk=4 << 20):
    """Two threads of pread into fresh huge pages."""
    sizes = [os.path.getsize(path) for path in files]
    total = sum(sizes)
    cpu = cpu_seconds(resource.RUSAGE_SELF)
    start = time.perf_counter()
    memory = fresh_memory(total)
    view = memoryview(memory)
    descriptors = [os.open(path, os.O_RDONLY) for path in files]
    pieces = []
    base = 0
    for descriptor, size in zip(descriptors, sizes):
        pieces += [(descriptor, offset, base + offset, min(chunk, size - offset)) for offset in range(0, size, chunk)]
        base += size
    half = -(-len(pieces) // threads)

    def read(part):
        for descriptor, offset, target, length in part:
            done = 0
            while done < length:
                done += os.preadv(descriptor, [view[target + done:target + length]], offset + done)

    workers = [threading.Thread(target=read, args=(pieces[i * half:(i + 1) * half],)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - start
    cpu = cpu_seconds(resource.RUSAGE_SELF) - cpu
    for descriptor in descriptors:
        os.close(descriptor)
    view.release()
    memory.close()
    return total / seconds / 1e9, cpu / total * 1e9


def measure(contenders, prepare, size):
    """Runs contenders (name -> function) in turns, forwards and backwards; name -> median (GB/s, CPU seconds a GB)."""
    results = {name: [] for name in contenders}
    for turn in range(ROUNDS):
        for name in list(contenders)[::-1 if turn % 2 else 1]:
            prepare()
            warm_up_memory(size)
            results[name].append(contenders[name]())
    return {name: tuple(map(statistics.median, zip(*runs))) for name, runs in results.items()}


def show(title, results):
    best = max(rate for rate, _ in results.values())
    print(f"   {title:<52} {'GB/s':>6} {'of the best':>12} {'CPU s/GB':>9}")
    for name, (rate, cpu) in results.items():
        print(f"     {name:<50} {rate:>6.2f} {rate / best:>10.0%} {cpu:>11.3f}")
    print()


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "CPU")
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE / 2**30
    return f"{len(os.sched_getaffinity(0))} x {model}, {memory:.0f} GiB, Linux {os.uname().release}"


def available_memory():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/meminfo") if line.startswith("MemAvailable"))


def main():
    tool, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    # Twice the checkpoint in memory (page cache and tensors) must not make the machine swap or drop the cache.
    size = int(sys.argv[3]) if len(sys.argv) > 3 else min(2 << 30, available_memory() // 4)
    checkpoint = folder / f"checkpoint-{size >> 20}MiB"
    if not checkpoint.exists():
        if shutil.disk_usage(folder).free < 2 * size:
            sys.exit(f"demo: {folder} has too little room for a checkpoint of {size / 1e9:.1f} GB")
        for old in folder.glob("checkpoint-*"):
            shutil.rmtree(old)
    demo_checkpoint.make(checkpoint, size)
    files = sorted(checkpoint.glob("*.safetensors"))
    size = sum(map(os.path.getsize, files))

    print(f"4. Load a checkpoint of {size / 1e9:.2f} GB in {len(files)} shards, beside the machine's limit\n")
    print(f"   {machine()}; medians of {ROUNDS}, in turns\n")

    if make_cold(files):
        cold = {
            "fio: direct io_uring, 1 MiB x 16": lambda: run_fio(files, "1M", 16),
            "fio: direct io_uring, 4 MiB x 4": lambda: run_fio(files, "4M", 4),
            "sluice, storage alone (--device null)": lambda: run_sluice(tool, checkpoint, "--device", "null"),
            "sluice, into memory": lambda: run_sluice(tool, checkpoint),
        }
        try:
            run_fio(files, "4M", 4)
        except Failed as refused:
            print(f"   fio cannot use io_uring here ({str(refused).splitlines()[-1]}); its limit is measured with psync\n")
            cold = {"fio: direct pread, 4 MiB": lambda: run_fio(files, "4M", 1, "psync"),
                    **{name: run for name, run in cold.items() if not name.startswith("fio")}}
        show("cold: nothing in the page cache", measure(cold, lambda: make_cold(files), size))
    else:
        print("   The page cache does not let go of these files: no cold figures.\n")

    if make_warm(files):
        warm = {"two threads of pread into fresh huge pages": lambda: run_pread(files),
                "sluice, into memory": lambda: run_sluice(tool, checkpoint)}
        show("warm: all of it in the page cache", measure(warm, lambda: make_warm(files), size))
    else:
        print("   The page cache does not keep all of these files: no warm figures.\n")

    loaded = sluice(tool, checkpoint, "--digest", "sha256")
    digests = json.loads((checkpoint / "digests.json").read_text())
    right = {tensor["name"]: tensor["digest"] for tensor in loaded["tensors"]} == digests
    print(f"   All {len(digests)} tensors arrived as they were written." if right else "   WRONG: a tensor differs.")
    for fallback in loaded["stats"]["fallbacks"]:
        print(f"   note: {fallback['what']}: {fallback['reason']}")
    return 0 if right else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        sys.exit(f"demo: {failed}")
