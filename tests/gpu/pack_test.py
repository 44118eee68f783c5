"""The packed check needs nothing but glibc and a driver, and its report says what it found.

Method: packs, copies the folder with glibc's own files, a shell and the simulated driver of one GPU into an empty root,
and runs it there on tiny checkpoints. Exit status 77, with the reason, where this system lets nobody change the root.

usage: pack_test.py CMAKE BUILD
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PACK_BYTES_MAX = 60 << 20
# /proc and /dev: what programs ask of the kernel there.
ENTER = 'mount --rbind /proc "$1/proc" && mount --rbind /dev "$1/dev" && exec chroot "$@"'
OF_GLIBC = re.compile(r"^(ld-linux.*|lib(c|m|dl|rt|pthread))\.so")


def enter(root, *command):
    return subprocess.run(["unshare", "--map-root-user", "--mount", "sh", "-c", ENTER, "enter", root, *command],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def copy(root, path):
    target = root / str(path).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def copy_glibc_and_shell(root):
    shell = pathlib.Path(shutil.which("sh"))
    shutil.copy(shell, root / "bin/sh")
    # A program that uses all of glibc's libraries that there are.
    for program in (shell, sys.executable):
        said = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
        for path in re.findall(r"(/\S+) \(0x", said):
            if OF_GLIBC.match(pathlib.Path(path).name):
                copy(root, path)


def check(wrong, what):
    if wrong:
        sys.exit(f"pack_test: {what}")


def main():
    cmake, build = sys.argv[1], pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name in ("bin", "proc", "dev", "tmp", "driver", "pack"):
            (root / name).mkdir()
        copy_glibc_and_shell(root)
        trial = enter(root, "/bin/sh", "-c", "exit 0")
        if trial.returncode:
            print(f"skipped: no root of one's own here: {trial.stdout.strip()}")
            sys.exit(77)

        subprocess.run([cmake, "--install", build, "--component", "gpu_check", "--prefix", root / "pack", "--strip"],
                       stdout=subprocess.DEVNULL, check=True)
        size = sum(file.stat().st_size for file in (root / "pack").rglob("*") if not file.is_symlink())
        check(size > PACK_BYTES_MAX, f"the folder takes {size} bytes")

        without = enter(root, "/pack/gpu-check", "--out", "/tmp/none")
        check(without.returncode != 1 or "there is no GPU to check" not in without.stdout,
              f"without a driver it ends with {without.returncode}: {without.stdout}")

        shutil.copy(build / "tests/sim/libcuda.so.1", root / "driver")
        done = enter(root, "/bin/sh", "-c", "SLUICE_SIM_DEVICES=1 LD_LIBRARY_PATH=/driver "
                     "exec /pack/gpu-check --out /tmp/out --bytes 4194304")
        check(done.returncode, f"it ends with {done.returncode}: {done.stdout}")
        report = json.loads((root / "tmp/out/report.json").read_text())
        text = (root / "tmp/out/report.md").read_text()
        warning = "simulated driver: no figure here means anything"
        for where in (done.stdout, text, report["warning"]):
            check(warning not in where, "it does not say loudly that the driver is simulated")
        check(not report["complete"], "the report says that it is not complete")
        parts = {finding["part"] for finding in report["checks"]}
        expected = {"machine", "contract", "tests", "kernel", "link", "loads", "compute-sanitizer"}
        check(parts != expected, f"parts: {parts}")
        failed = [finding for finding in report["checks"] if finding["verdict"] == "failed"]
        check(failed, f"failed: {failed}")
        # A column is left out where the page cache does not obey, as on some file systems in memory.
        measured = [column for column in report["loads"] if "rows" in column]
        check(len(report["loads"]) != 6 or not measured, "not all kinds of load were measured")
        for column in measured:
            row = next(row for row in column["rows"] if row["name"] == "sluice to the GPU")
            check(not 0 < row["load_share"], f"{column['title']} has no share of the speed of light")
        print(f"{size >> 20} MiB; {len(report['checks'])} findings, {len(measured)} of 6 columns measured")


main()
