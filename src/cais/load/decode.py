"""The last stage: every value in the form Docker Compose prints it, and nothing that is empty.

Each attribute has its form (`forms.py`) in the tables here; a mapping's unknown keys can only be `x-…` and stay as
they are.
"""

from __future__ import annotations

from cais.load.forms import (
    Form,
    always,
    blank,
    command,
    count,
    count_or_zero,
    decimal,
    device_count,
    duration,
    each,
    empty,
    expose,
    filled_texts,
    flag,
    flag_or_false,
    health_test,
    hosts,
    ids,
    keep,
    labels,
    mode,
    natural,
    natural_or_none,
    nothing,
    opt_out,
    options_list,
    pairs,
    plain_count,
    plain_count_or_zero,
    plain_texts,
    record,
    size,
    size_or_zero,
    ssh,
    text,
    texts,
    ulimits,
    values,
    zero,
    zero_text,
)
from cais.load.job import Job
from cais.source.tree import NOWHERE, Map

GRANTS = each(record(source=text, target=text, uid=text, gid=text, mode=mode))

BUILD = record(
    context=text,
    dockerfile=text,
    dockerfile_inline=text,
    entitlements=texts,
    args=pairs,
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

DEVICES = each(record(capabilities=texts, driver=text, count=device_count, device_ids=texts, options=labels))

_RESOURCE = always(record(kind=text, value=count_or_zero), kind=blank, value=zero)
_UPDATE = record(
    parallelism=natural,
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
            limits=record(cpus=decimal, memory=size, pids=count),
            reservations=record(
                cpus=decimal,
                memory=size,
                devices=DEVICES,
                generic_resources=each(record(discrete_resource_spec=_RESOURCE)),
            ),
        ),
        restart_policy=record(condition=text, delay=duration, max_attempts=natural, window=duration),
        placement=record(
            constraints=texts, preferences=each(record(spread=text)), max_replicas_per_node=natural_or_none
        ),
        endpoint_mode=text,
    ),
    resources=empty,
    placement=empty,
)

HOOK = record(command=command, user=text, privileged=flag, working_dir=text, environment=pairs)
_EXEC = always(HOOK, command=nothing)

VOLUMES = each(
    record(
        type=text,
        source=text,
        target=text,
        read_only=flag,
        consistency=text,
        bind=record(selinux=text, propagation=text, create_host_path=opt_out, recursive=text),
        volume=record(labels=labels, nocopy=flag, subpath=text),
        tmpfs=record(size=size, mode=plain_count),
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

_RATES = each(always(record(path=text, rate=size_or_zero), path=blank, rate=zero_text))
_WEIGHTS = each(always(record(path=text, weight=plain_count_or_zero), path=blank, weight=zero))

CONTAINER: dict[str, Form] = {
    "annotations": labels,
    "blkio_config": record(
        weight=plain_count,
        weight_device=_WEIGHTS,
        device_read_bps=_RATES,
        device_read_iops=_RATES,
        device_write_bps=_RATES,
        device_write_iops=_RATES,
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
    "cpus": decimal,
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
    "group_add": ids,
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
    "pull_refresh_after": text,
    "read_only": flag,
    "runtime": text,
    "secrets": GRANTS,
    "security_opt": texts,
    "shm_size": size,
    "stop_grace_period": duration,
    "stop_signal": text,
    "storage_opt": plain_texts,
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

_WORKLOAD: dict[str, Form] = {
    "build": BUILD,
    "depends_on": values(record(condition=text, restart=flag, required=keep)),
    "env_file": each(record(path=text, required=opt_out, format=text)),
    "expose": expose,
    "healthcheck": record(
        test=health_test,
        timeout=duration,
        interval=duration,
        retries=natural,
        start_period=duration,
        start_interval=duration,
        disable=flag,
    ),
    "label_file": texts,
    "ports": each(
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
    "profiles": texts,
    "stdin_open": flag,
    "tty": flag,
}

_SERVICE_FORM = record(
    **CONTAINER,
    **_WORKLOAD,
    attach=flag_or_false,
    container_name=text,
    deploy=DEPLOY,
    develop=record(
        watch=each(
            always(
                record(path=text, action=text, target=text, exec=_EXEC, include=texts, ignore=texts, initial_sync=flag),
                exec=lambda job, value, at: Map({"command": None}),
            )
        )
    ),
    extends=keep,
    external_links=texts,
    links=texts,
    post_start=each(HOOK),
    pre_start=each(always(record(**CONTAINER, per_replica=flag), command=nothing, entrypoint=nothing)),
    pre_stop=each(HOOK),
    provider=record(type=text, options=options_list),
    restart=text,
    scale=natural,
)
SERVICE = always(_SERVICE_FORM, command=nothing, entrypoint=nothing)

_SCHEDULE = record(cron=text, timezone=text, concurrency=text, missed_fires=text)
_JOB_FORM = record(**CONTAINER, **_WORKLOAD, triggers=record(manual=flag_or_false, schedule=each(_SCHEDULE)))
JOB = always(_JOB_FORM, command=nothing, entrypoint=nothing)

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
    ipam=empty,
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
    driver_opts=plain_texts,
    template_driver=text,
)
MODEL = record(name=text, model=text, context_size=count, runtime_flags=texts)

SECTIONS: dict[str, Form] = {
    "services": SERVICE,
    "jobs": JOB,
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
        if section == "jobs" and not entries:
            tree.drop(section)
        for name, entry in entries.items():
            at = entries.at.get(name, NOWHERE)
            entries[name] = form(job, Map() if entry is None else entry, at)
