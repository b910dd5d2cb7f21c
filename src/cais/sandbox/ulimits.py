"""Names of the limits that setrlimit(2) knows, as `ulimits` takes them (docker/go-units `ulimit.go`, and `as`)."""

# linux/asm-generic/resource.h, in its order
_ORDER = ["cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending"]
ULIMITS = {name: number for number, name in enumerate([*_ORDER, "msgqueue", "nice", "rtprio", "rttime"])}


def reaches_over(soft: int, hard: int) -> bool:
    """Whether the soft limit is above the hard one, which no kernel takes; -1 is no limit."""
    return hard >= 0 and (soft < 0 or soft > hard)
