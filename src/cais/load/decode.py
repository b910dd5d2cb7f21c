"""The last stage: every value in the form Docker Compose prints it, and nothing that is empty.

Go's types decide that form: a duration is `1m30s`, a size a text of bytes, a variable always a text. Each
attribute has a function here; a mapping's unknown keys can only be `x-…` and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cais.load.canonical import canonical_hosts, go_text
from cais.load.job import Job
from cais.load.measures import duration_text, nanoseconds, shell_words, size_bytes
from cais.source.tree import NOWHERE, List, Map

OMIT: Any = object()
Form = Callable[[Job, Any, int], Any]


def keep(job: Job, value: Any, at: int) -> Any:
    return value


def text(job: Job, value: Any, at: int) -> Any:
    if value is None or value == "":
        return OMIT
    return value if value.__class__ is str else go_text(value)


def text_or_empty(job: Job, value: Any, at: int) -> Any:
    return "" if value is None else value if value.__class__ is str else go_text(value)


def flag(job: Job, value: Any, at: int) -> Any:
    return value or OMIT if value.__class__ is bool else _flag(job, value, at) or OMIT


def flag_or_false(job: Job, value: Any, at: int) -> Any:
    return OMIT if value is None else _flag(job, value, at)


def opt_out(job: Job, value: Any, at: int) -> Any:
    """True is what it is when nothing is said."""
    return OMIT if value is None or _flag(job, value, at) else False


def _flag(job: Job, value: Any, at: int) -> Any:
    if value.__class__ is str:
        from cais.load.interpolate import to_bool

        try:
            return to_bool(value)
        except ValueError as error:
            job.error("cast", str(error), at)
            return False
    return bool(value)


def count(job: Job, value: Any, at: int) -> Any:
    return count_or_zero(job, value, at) or OMIT


def count_or_zero(job: Job, value: Any, at: int) -> Any:
    if value is None:
        return OMIT
    if value.__class__ is str:
        try:
            value = int(value, 0) if value not in ("", "all") else -1 if value == "all" else 0
        except ValueError:
            job.error("cast", f'"{value}" is not a whole number', at)
            return OMIT
    return int(value)


def expose(job: Job, value: Any, at: int) -> Any:
    for index, item in enumerate(value or ()):
        if item.__class__ is float:
            job.error("port", f"{item} is not a port", value.at[index])
    return texts(job, value, at)


def natural(job: Job, value: Any, at: int) -> Any:
    found = count_or_zero(job, value, at)
    if found is not OMIT and found < 0:
        job.error("cast", f"{found} is less than 0", at)
    return found


def cpus(job: Job, value: Any, at: int) -> Any:
    """A share of processors, in Go a float32: its shortest digits."""
    found = decimal(job, value, at)
    if found.__class__ is not float:
        return found
    import struct

    packed = struct.pack("f", found)
    for digits in range(1, 10):
        short = float(f"{found:.{digits}g}")
        if struct.pack("f", short) == packed:
            return int(short) if short.is_integer() else short
    return found


def decimal(job: Job, value: Any, at: int) -> Any:
    return decimal_or_zero(job, value, at) or OMIT


def decimal_or_zero(job: Job, value: Any, at: int) -> Any:
    if value is None:
        return OMIT
    if value.__class__ is str:
        try:
            value = float(value)
        except ValueError:
            job.error("cast", f'"{value}" is not a number', at)
            return OMIT
    return int(value) if value.__class__ is float and value.is_integer() else value


def size(job: Job, value: Any, at: int) -> Any:
    if value is None or value.__class__ is float:  # Docker Compose takes a fraction of bytes for nothing said
        return OMIT
    try:
        amount = size_bytes(value) if value.__class__ is str else int(value)
    except ValueError as error:
        if value.__class__ is str and value.lstrip("-").isdigit():
            amount = int(value)
        else:
            job.error("size", str(error), at, hint="a number and b, k, m, g or t")
            return OMIT
    return str(amount) if amount else OMIT


def size_or_zero(job: Job, value: Any, at: int) -> Any:
    found = size(job, value, at)
    return "0" if found is OMIT else found


def duration(job: Job, value: Any, at: int) -> Any:
    if value is None:
        return OMIT
    try:
        total = nanoseconds(value) if value.__class__ is str else int(value)
        if abs(total) >= 2**63:
            raise ValueError(f'"{value}" is longer than the longest duration, 292 years')
        return duration_text(total)
    except ValueError as error:
        job.error("duration", str(error), at, hint="write 1m30s, 500ms, 2h")
        return OMIT


def mode(job: Job, value: Any, at: int) -> Any:
    """A file mode in octal; a text is read as octal too."""
    if value is None:
        return OMIT
    if value.__class__ is str:
        try:
            if value.lstrip("+-").strip("01234567"):
                raise ValueError
            value = int(value, 8)
        except ValueError:
            job.error("mode", f'"{value}" is not an octal file mode', at)
            return OMIT
    if value.__class__ is float:
        job.error("mode", f"{value} is not an octal file mode", at, hint='write "0440"')
        return OMIT
    return f"0{int(value):o}" if value else "0"


def texts(job: Job, value: Any, at: int) -> Any:
    if not value:
        return OMIT
    if value.__class__ is str:
        return List([value], [at])
    for index, item in enumerate(value):
        if item.__class__ is not str:
            value[index] = go_text(item)
    return value


def filled_texts(job: Job, value: Any, at: int) -> Any:
    """Texts that are not empty."""
    value = texts(job, value, at)
    if value is not OMIT and "" in value:
        value = List([one for one in value if one], [p for one, p in zip(value, value.at, strict=True) if one])
    return value or OMIT


def pairs(job: Job, value: Any, at: int) -> Any:
    """Variables: texts, or null for a name without a value."""
    if not value:
        return OMIT
    for key, item in value.items():
        if item.__class__ is not str and item is not None:
            value[key] = go_text(item)
        if key[-1:] == " ":
            job.error("variable-name", f'variable "{key}" ends with a space', value.where(key), key=True)
    return value


def labels(job: Job, value: Any, at: int) -> Any:
    if not value:
        return OMIT
    for key, item in value.items():
        if item.__class__ is not str:
            value[key] = go_text(item)
    return value


def given_pairs(job: Job, value: Any, at: int) -> Any:
    """Build arguments: names without a value are left out."""
    if not value:
        return OMIT
    for key in [key for key, item in value.items() if item is None]:
        value.drop(key)
    return pairs(job, value, at)


def command(job: Job, value: Any, at: int) -> Any:
    if value is None:
        return None
    if value.__class__ is str:
        try:
            words = shell_words(value)
        except ValueError as error:
            job.error("command", str(error), at)
            return None
        return List(words, [at] * len(words))
    return texts(job, value, at) if value else List()


def health_test(job: Job, value: Any, at: int) -> Any:
    if value is None or value == []:
        return OMIT
    if value.__class__ is str:
        return List(["CMD-SHELL", value], [at, at])
    return texts(job, value, at)


def hosts(job: Job, value: Any, at: int) -> Any:
    """`name=address`, sorted."""
    value = canonical_hosts(job, value)
    if not value:
        return OMIT
    found = [
        (f"{name}={address}", place)
        for name, addresses in value.items()
        for address, place in zip(addresses, addresses.at, strict=True)
    ]
    found.sort()
    return List([one for one, _ in found], [place for _, place in found])


def ulimits(job: Job, value: Any, at: int) -> Any:
    if not value:
        return OMIT
    for name, limit in value.items():
        if limit.__class__ is Map:
            job.extended.add(id(limit))
            for key in ("soft", "hard"):
                amount = count(job, limit.get(key), limit.where(key))
                limit.drop(key)
                if amount is not OMIT:
                    limit.put(key, amount, value.where(name))
        else:
            value[name] = count_or_zero(job, limit, value.where(name)) or Map()
    return value


def ssh(job: Job, value: Any, at: int) -> Any:
    if not value:
        return OMIT
    return List([name if path is None else f"{name}={path}" for name, path in value.items()], [at] * len(value))


def options_list(job: Job, value: Any, at: int) -> Any:
    """A provider's options: each a list of texts."""
    if not value:
        return OMIT
    for key, item in value.items():
        items = item if item.__class__ is List else List([item], [value.where(key)])
        value[key] = List([go_text(one) for one in items], items.at)
    return value


def record(**fields: Form) -> Form:
    """A mapping that is printed even when empty."""

    def form(job: Job, value: Any, at: int) -> Any:
        if value is None:
            return OMIT
        if value.__class__ is not Map:
            return value
        drop = None
        for key, item in value.items():
            decode = fields.get(key)
            if decode is None:
                job.extended.add(id(value))  # an x-… key: Docker Compose's JSON leaves it out
                continue
            fresh = decode(job, item, value.at.get(key, at))
            if fresh is OMIT:
                drop = [key] if drop is None else [*drop, key]
            elif fresh is not item:
                value[key] = fresh
        for key in drop or ():
            value.drop(key)
        return value

    return form


def always(form: Form, **required: Form) -> Form:
    """`form`, with fields that are printed even when nobody gave them."""

    def wrapped(job: Job, value: Any, at: int) -> Any:
        value = form(job, value, at)
        if value.__class__ is Map:
            for key, default in required.items():
                if key not in value:
                    value.put(key, default(job, None, at), at)
        return value

    return wrapped


def each(form: Form) -> Form:
    def items(job: Job, value: Any, at: int) -> Any:
        if not value:
            return OMIT
        for index, item in enumerate(value):
            fresh = form(job, item, value.at[index] if index < len(value.at) else at)
            value[index] = None if fresh is OMIT else fresh
        return value

    return items


def values(form: Form) -> Form:
    def entries(job: Job, value: Any, at: int) -> Any:
        if not value:
            return OMIT
        for key, item in value.items():
            fresh = form(job, item, value.at.get(key, at))
            value[key] = None if fresh is OMIT else fresh
        return value

    return entries


def _nothing(job: Job, value: Any, at: int) -> Any:
    return None


def _zero(job: Job, value: Any, at: int) -> Any:
    return "0"


def _empty(job: Job, value: Any, at: int) -> Any:
    return Map()


GRANTS = each(record(source=text, target=text, uid=text, gid=text, mode=mode))

BUILD = record(
    context=text,
    dockerfile=text,
    dockerfile_inline=text,
    entitlements=texts,
    args=given_pairs,
    provenance=text,
    sbom=text,
    ssh=ssh,
    labels=labels,
    cache_from=texts,
    cache_to=texts,
    no_cache=flag,
    no_cache_filter=texts,
    additional_contexts=labels,
    pull=flag,
    extra_hosts=hosts,
    isolation=text,
    network=text,
    target=text,
    secrets=GRANTS,
    shm_size=size,
    tags=texts,
    ulimits=ulimits,
    platforms=texts,
    privileged=flag,
)

DEVICES = each(record(capabilities=texts, driver=text, count=count, device_ids=texts, options=labels))

_UPDATE = record(
    parallelism=count_or_zero,
    delay=duration,
    failure_action=text,
    monitor=duration,
    max_failure_ratio=decimal,
    order=text,
)

DEPLOY = always(
    record(
        mode=text,
        replicas=natural,
        labels=labels,
        update_config=_UPDATE,
        rollback_config=_UPDATE,
        resources=record(
            limits=record(cpus=cpus, memory=size, pids=count),
            reservations=record(
                cpus=cpus,
                memory=size,
                devices=DEVICES,
                generic_resources=each(record(discrete_resource_spec=record(kind=text, value=count_or_zero))),
            ),
        ),
        restart_policy=record(condition=text, delay=duration, max_attempts=count_or_zero, window=duration),
        placement=record(constraints=texts, preferences=each(record(spread=text)), max_replicas_per_node=count),
        endpoint_mode=text,
    ),
    resources=_empty,
    placement=_empty,
)

HOOK = record(command=command, user=text, privileged=flag, working_dir=text, environment=pairs)
_EXEC = always(HOOK, command=_nothing)

VOLUMES = each(
    record(
        type=text,
        source=text,
        target=text,
        read_only=flag,
        consistency=text,
        bind=record(selinux=text, propagation=text, create_host_path=opt_out, recursive=text),
        volume=record(labels=labels, nocopy=flag, subpath=text),
        tmpfs=record(size=size, mode=count),
        image=record(subpath=text),
    )
)

NETWORKS = values(
    record(
        aliases=texts,
        driver_opts=labels,
        gw_priority=count,
        interface_name=text,
        ipv4_address=text,
        ipv6_address=text,
        link_local_ips=texts,
        mac_address=text,
        priority=count,
    )
)

_BLKIO_RATES = each(always(record(path=text, rate=size_or_zero), rate=_zero))

CONTAINER: dict[str, Form] = {
    "annotations": labels,
    "blkio_config": record(
        weight=count,
        weight_device=each(record(path=text, weight=count)),
        device_read_bps=_BLKIO_RATES,
        device_read_iops=_BLKIO_RATES,
        device_write_bps=_BLKIO_RATES,
        device_write_iops=_BLKIO_RATES,
    ),
    "cap_add": texts,
    "cap_drop": texts,
    "cgroup": text,
    "cgroup_parent": text,
    "command": command,
    "configs": GRANTS,
    "cpu_count": count,
    "cpu_percent": decimal,
    "cpu_period": count,
    "cpu_quota": count,
    "cpu_rt_period": count,
    "cpu_rt_runtime": count,
    "cpu_shares": count,
    "cpus": cpus,
    "cpuset": text,
    "credential_spec": record(config=text, file=text, registry=text),
    "device_cgroup_rules": texts,
    "devices": each(record(source=text, target=text, permissions=text)),
    "dns": filled_texts,
    "dns_opt": texts,
    "dns_search": texts,
    "domainname": text,
    "entrypoint": command,
    "environment": pairs,
    "extra_hosts": hosts,
    "gpus": DEVICES,
    "group_add": texts,
    "hostname": text,
    "image": text,
    "init": flag_or_false,
    "ipc": text,
    "isolation": text,
    "labels": labels,
    "logging": record(driver=text, options=labels),
    "mac_address": text,
    "mem_limit": size,
    "mem_reservation": size,
    "mem_swappiness": size,
    "memswap_limit": size,
    "models": values(record(endpoint_var=text, model_var=text)),
    "network_mode": text,
    "networks": NETWORKS,
    "oom_kill_disable": flag,
    "oom_score_adj": count,
    "pid": text,
    "pids_limit": count,
    "platform": text,
    "privileged": flag,
    "pull_policy": text,
    "read_only": flag,
    "runtime": text,
    "secrets": GRANTS,
    "security_opt": texts,
    "shm_size": size,
    "stop_grace_period": duration,
    "stop_signal": text,
    "storage_opt": labels,
    "sysctls": labels,
    "tmpfs": texts,
    "ulimits": ulimits,
    "use_api_socket": flag,
    "user": text,
    "userns_mode": text,
    "uts": text,
    "volumes": VOLUMES,
    "volumes_from": texts,
    "working_dir": text,
}

_SERVICE_FORM = record(
    **CONTAINER,
    attach=flag_or_false,
    build=BUILD,
    container_name=text,
    depends_on=values(record(condition=text, restart=flag, required=keep)),
    deploy=DEPLOY,
    develop=record(
        watch=each(
            always(
                record(path=text, action=text, target=text, exec=_EXEC, include=texts, ignore=texts, initial_sync=flag),
                exec=lambda job, value, at: Map({"command": None}),
            )
        )
    ),
    expose=expose,
    extends=keep,
    external_links=texts,
    healthcheck=record(
        test=health_test,
        timeout=duration,
        interval=duration,
        retries=natural,
        start_period=duration,
        start_interval=duration,
        disable=flag,
    ),
    links=texts,
    ports=each(
        record(
            name=text,
            mode=text,
            host_ip=text,
            target=count,
            published=text,
            protocol=text,
            app_protocol=text,
        )
    ),
    post_start=each(HOOK),
    pre_start=each(always(record(**CONTAINER, per_replica=flag), command=_nothing, entrypoint=_nothing)),
    pre_stop=each(HOOK),
    profiles=texts,
    provider=record(type=text, options=options_list),
    restart=text,
    scale=natural,
    stdin_open=flag,
    tty=flag,
)
SERVICE = always(_SERVICE_FORM, command=_nothing, entrypoint=_nothing)

NETWORK = always(
    record(
        name=text,
        driver=text,
        driver_opts=labels,
        ipam=record(
            driver=text,
            config=each(record(subnet=text, gateway=text, ip_range=text, aux_addresses=labels)),
            options=labels,
        ),
        external=flag,
        internal=flag,
        attachable=flag,
        labels=labels,
        enable_ipv4=flag_or_false,
        enable_ipv6=flag_or_false,
    ),
    ipam=_empty,
)
VOLUME = record(name=text, driver=text, driver_opts=labels, external=flag, labels=labels)
FILE_OBJECT = record(
    name=text,
    file=text,
    environment=text,
    content=text,
    external=flag,
    labels=labels,
    driver=text,
    driver_opts=labels,
    template_driver=text,
)
MODEL = record(name=text, model=text, context_size=count, runtime_flags=texts)

SECTIONS: dict[str, Form] = {
    "services": SERVICE,
    "networks": NETWORK,
    "volumes": VOLUME,
    "secrets": FILE_OBJECT,
    "configs": FILE_OBJECT,
    "models": MODEL,
}


def decode(job: Job, tree: Map) -> None:
    """Bring every section of `tree` into its printed form, in place."""
    for section, form in SECTIONS.items():
        entries = tree.get(section)
        if entries.__class__ is not Map:
            continue
        for name, entry in entries.items():
            at = entries.at.get(name, NOWHERE)
            entries[name] = form(job, Map() if entry is None else entry, at)


def number_of(attribute: str, value: Any) -> float | None:
    """A limit as a number, to compare two spellings of it."""
    if value is None:
        return None
    try:
        if attribute.startswith("mem") and value.__class__ is str:
            return float(size_bytes(value))
        return float(value)
    except (ValueError, TypeError):
        return None
