"""How cold and warm starts are measured: what every contender finds before it runs, in which order they run, and which
runs count. Used by bench/cold_start and by scripts/demo_speed.py.

- Cold: nothing of the shards is in the page cache, and it has been asked; warm: all of it is.
- Memory: as much as a load needs is touched and let go of just before each run. A virtual machine takes seconds to get
  memory back that it has not used for a while; without this, who runs first would pay for it.
- Contenders take turns, forwards and backwards, so that none has the better moments; medians count.
- A run during which other processes used more than a fifth of the machine is repeated.
"""

import ctypes
import json
import mmap
import os
import resource
import statistics
import subprocess
import tempfile
import threading
import time

import numpy

PAGE = mmap.PAGESIZE
MADV_POPULATE_WRITE = 23
libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    pass


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
    for _ in range(5):
        for path in files:
            with open(path, "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
        if all(cached_bytes(path) == os.path.getsize(path) for path in files):
            return True
    return False


def warm_up_memory(size):
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        try:
            memory.madvise(MADV_POPULATE_WRITE)
        except OSError:
            memory[::PAGE] = bytes(-(-size // PAGE))


def run(command, environment=None):
    """Standard output of a process that must end well."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          env={**os.environ, **(environment or {})})
    if done.returncode:
        raise Failed((done.stderr or done.stdout).strip())
    return done.stdout


def start(command, environment=None, seconds_at_most=600):
    """The JSON that a process prints as its first, once all is in hand, and `process_seconds` from its start to there. The
    process must end well; what it does after that line is not timed."""
    with tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, text=True,
                              env={**os.environ, **(environment or {})}) as child:
            limit = threading.Timer(seconds_at_most, child.kill)
            limit.start()
            said = []
            for line in child.stdout:
                if not said and line.startswith("{"):
                    seconds = time.perf_counter() - began
                if said or line.startswith("{"):
                    said.append(line)
        limit.cancel()
        if child.returncode or not said:
            errors.seek(0)
            raise Failed(errors.read().strip() or f"ended with {child.returncode}, having said nothing")
    return {**json.JSONDecoder().raw_decode("".join(said))[0], "process_seconds": seconds}


def fio(files, block, depth, engine="io_uring"):
    """fio's sequential direct reads of the shards, one after another, into huge pages."""
    options = ["--fixedbufs", "--registerfiles"] if engine == "io_uring" else []
    out = run(["fio", "--name=limit", "--readonly", "--rw=read", "--direct=1", f"--ioengine={engine}", f"--bs={block}",
               f"--iodepth={depth}", "--file_service_type=sequential", "--output-format=json",
               f"--filename={':'.join(map(str, files))}", *options], {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"})
    job = json.loads(out[out.index("{"):])["jobs"][0]
    seconds = job["read"]["runtime"] / 1e3
    return {"bytes": job["read"]["io_bytes"], "seconds": seconds,
            "cpu_seconds": (job["usr_cpu"] + job["sys_cpu"]) / 100 * seconds}


def sluice(tool, checkpoint, *options):
    return json.loads(run([tool, "load", checkpoint, *options, "--json"]))


def ticks_in_use():
    """Clock ticks that all processors together have worked, stolen time included, since the machine started."""
    fields = [int(field) for field in open("/proc/stat").readline().split()[1:]]
    user, nice, system, idle, iowait, irq, softirq, steal = fields[:8]
    return user + nice + system + steal


def disturbed(action):
    """Runs it; what it returned, and whether other processes used more than a fifth of the machine meanwhile."""
    def own():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    start, used, mine = time.perf_counter(), ticks_in_use(), own()
    result = action()
    seconds = time.perf_counter() - start
    others = (ticks_in_use() - used) / os.sysconf("SC_CLK_TCK") - (own() - mine)
    return result, others > 0.2 * seconds * os.cpu_count()


class Row:
    """The runs of one contender."""

    def __init__(self, runs):
        self.rate = statistics.median(run["bytes"] / run["seconds"] / 1e9 for run in runs)
        self.cpu = statistics.median(run["cpu_seconds"] / run["bytes"] * 1e9 for run in runs)
        rates = [run["bytes"] / run["seconds"] / 1e9 for run in runs]
        self.least, self.most = min(rates), max(rates)
        self.seconds = statistics.median(run["seconds"] for run in runs)
        self.resident = max((run.get("peak_resident_bytes", 0) for run in runs), default=0)
        self.runs = runs


def measured(action, prepare, memory_bytes, tries=5):
    """What an action gives, run from a state that `prepare` makes, and again while others disturb it. `prepare` says
    whether it could."""
    for _ in range(tries):
        if not prepare():
            raise Failed("the page cache does not do what it is asked: no figures")
        warm_up_memory(memory_bytes)
        result, was_disturbed = disturbed(action)
        if not was_disturbed:
            break
    return result


def measure(contenders, prepare, memory_bytes, rounds):
    """Runs contenders (name -> function that gives bytes, seconds, cpu_seconds) in turns; name -> Row."""
    runs = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in list(contenders)[::-1 if turn % 2 else 1]:
            runs[name].append(measured(contenders[name], prepare, memory_bytes))
    return {name: Row(results) for name, results in runs.items()}


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "CPU")
    memory = os.sysconf("SC_PHYS_PAGES") * PAGE / 2**30
    return f"{len(os.sched_getaffinity(0))} x {model}, {memory:.0f} GiB, Linux {os.uname().release}"


def available_memory():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
