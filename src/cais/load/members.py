"""The members of Docker Compose's structures, in the order it declares and so prints them: names, and what is in each.

`HASHED` is the order in which a service's hash reads it, `PROJECT` that of `config`'s YAML. What is no member (names
that people give, `x-…`) is sorted and comes last.
"""

from __future__ import annotations

from typing import Any

Shape = dict[str, Any]  # member -> shape of its value, or None; "*" stands for every name of a mapping


def flat(names: str, **members: Shape) -> Shape:
    return {name: members.get(name) for name in names.split()}


FILE = flat("source target uid gid mode")
REQUEST = flat("capabilities driver count device_ids options")
GENERIC = flat("discrete_resource_spec", discrete_resource_spec=flat("kind value"))
RESOURCE = flat("cpus memory pids devices generic_resources", devices=REQUEST, generic_resources=GENERIC)
UPDATE = flat("parallelism delay failure_action monitor max_failure_ratio order")
HOOK = flat("command user privileged working_dir environment per_replica")
RATE, WEIGHT = flat("Path Rate"), flat("Path Weight")

HASHED = flat(
    "annotations attach develop blkio_config cap_add cap_drop cgroup_parent cgroup cpu_count cpu_percent cpu_period "
    "cpu_quota cpu_rt_period cpu_rt_runtime cpus cpuset cpu_shares command configs container_name credential_spec "
    "deploy device_cgroup_rules devices dns dns_opt dns_search dockerfile domainname entrypoint provider environment "
    "env_file expose extends external_links extra_hosts group_add gpus hostname healthcheck image init ipc isolation "
    "labels label_file links logging log_driver log_opt mem_limit mem_reservation memswap_limit mem_swappiness "
    "mac_address models net network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports "
    "privileged read_only restart runtime secrets security_opt shm_size stdin_open stop_grace_period stop_signal "
    "storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volume_driver volumes volumes_from "
    "working_dir pre_start post_start pre_stop pull_refresh_after",
    develop=flat(
        "watch",
        watch=flat("path action target exec include ignore initial_sync", exec=HOOK),
    ),
    blkio_config=flat(
        "weight weight_device device_read_bps device_read_iops device_write_bps device_write_iops",
        weight_device=WEIGHT,
        device_read_bps=RATE,
        device_read_iops=RATE,
        device_write_bps=RATE,
        device_write_iops=RATE,
    ),
    configs=FILE,
    credential_spec=flat("config file registry"),
    deploy=flat(
        "mode labels update_config rollback_config resources restart_policy placement endpoint_mode",
        update_config=UPDATE,
        rollback_config=UPDATE,
        resources=flat("limits reservations", limits=RESOURCE, reservations=RESOURCE),
        restart_policy=flat("condition delay max_attempts window"),
        placement=flat("constraints preferences max_replicas_per_node", preferences=flat("spread")),
    ),
    devices=flat("source target permissions"),
    env_file=flat("path required format"),
    extends=flat("file service"),
    gpus=REQUEST,
    healthcheck=flat("test timeout interval retries start_period start_interval disable"),
    logging=flat("driver options"),
    models={"*": flat("endpoint_var model_var")},
    networks={
        "*": flat(
            "aliases driver_opts gw_priority interface_name ipv4_address ipv6_address link_local_ips mac_address "
            "priority"
        )
    },
    ports=flat("name mode host_ip target published protocol app_protocol"),
    provider=flat("type options"),
    secrets=FILE,
    ulimits={"*": flat("single soft hard")},
    volumes=flat(
        "type source target read_only consistency bind volume tmpfs image",
        bind=flat("selinux propagation create_host_path recursive"),
        volume=flat("labels nocopy subpath"),
        tmpfs=flat("size mode"),
        image=flat("subpath"),
    ),
    post_start=HOOK,
    pre_stop=HOOK,
)
# A hook that runs in a container of its own has a service's members, in the order Compose declares them today; a
# service itself keeps the order of old, so that no container is made again by an upgrade.
OF_A_CONTAINER = (
    "annotations blkio_config cap_add cap_drop cgroup_parent cgroup cpu_count cpu_percent cpu_period cpu_quota "
    "cpu_rt_period cpu_rt_runtime cpus cpuset cpu_shares command configs credential_spec device_cgroup_rules devices "
    "dns dns_opt dns_search domainname entrypoint environment env_file extra_hosts group_add gpus hostname image init "
    "ipc isolation labels label_file logging log_driver log_opt mem_limit mem_reservation memswap_limit mem_swappiness "
    "mac_address models network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform privileged "
    "pull_policy pull_refresh_after read_only runtime secrets security_opt shm_size stop_grace_period stop_signal "
    "storage_opt sysctls tmpfs ulimits use_api_socket user userns_mode uts volume_driver volumes volumes_from "
    "working_dir per_replica"
)
HASHED["pre_start"] = {name: HASHED.get(name) for name in OF_A_CONTAINER.split()}


def _hashed(names: str) -> Shape:
    return {name: HASHED.get(name) for name in names.split()}


_CONTAINER = _hashed(OF_A_CONTAINER)
BUILD = flat(
    "context dockerfile dockerfile_inline entitlements args provenance sbom ssh labels cache_from cache_to no_cache "
    "no_cache_filter additional_contexts pull extra_hosts isolation network target secrets shm_size tags ulimits "
    "platforms privileged",
    secrets=FILE,
    ulimits=HASHED["ulimits"],
)
_WORKLOAD = {
    "build": BUILD,
    "depends_on": {"*": flat("condition restart required")},
    **_hashed("expose healthcheck ports stdin_open tty"),
}
_RATES = flat("path rate")
_BLKIO = flat(
    "weight weight_device device_read_bps device_read_iops device_write_bps device_write_iops",
    **dict.fromkeys(("device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops"), _RATES),
    weight_device=flat("path weight"),
)
SERVICE: Shape = {
    **_hashed(
        "profiles deploy develop restart scale attach container_name provider extends external_links links pre_start "
        "post_start pre_stop"
    ),
    **_CONTAINER,
    **_WORKLOAD,
    "deploy": {"mode": None, "replicas": None, **HASHED["deploy"]},
    "blkio_config": _BLKIO,
}
JOB: Shape = {
    "name": None,
    "profiles": None,
    "triggers": flat("manual schedule", schedule=flat("cron timezone concurrency missed_fires")),
    **_CONTAINER,
    **_WORKLOAD,
}
FILE_OBJECT = flat("name file environment content external labels driver driver_opts template_driver")
PROJECT: dict[str, Shape] = {
    "services": {"*": SERVICE},
    "jobs": {"*": JOB},
    "networks": {
        "*": flat(
            "name driver driver_opts ipam external internal attachable labels enable_ipv4 enable_ipv6",
            ipam=flat("driver config options", config=flat("subnet gateway ip_range aux_addresses")),
        )
    },
    "volumes": {"*": flat("name driver driver_opts external labels")},
    "secrets": {"*": FILE_OBJECT},
    "configs": {"*": FILE_OBJECT},
    "models": {"*": flat("name model context_size runtime_flags")},
}
