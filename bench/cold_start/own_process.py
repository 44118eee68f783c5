"""What a contender written in Python tells of its own process."""


def peak_resident_bytes():
    """Of this program alone: ru_maxrss would include the process that started it."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
