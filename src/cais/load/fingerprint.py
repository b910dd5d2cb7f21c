"""Docker Compose's hash of a service: what `config --hash` prints and what its containers carry as a label.

SHA-256 over the service's JSON as Go writes it: members of a structure in the order Compose declares them, those of a
mapping sorted, no spaces, and `<`, `>`, `&` escaped (encoding/json). What does not make a container another one is left
out: how it is built or pulled, how many there are, what it waits for.
"""

from __future__ import annotations

from typing import Any

Shape = dict[str, Any]  # member -> shape of its value, or None; "*" stands for every name of a mapping

_LEFT_OUT = ("build", "depends_on", "profiles", "pull_policy", "scale")


def _flat(names: str, **members: Shape) -> Shape:
    return {name: members.get(name) for name in names.split()}


_FILE = _flat("source target uid gid mode")
_REQUEST = _flat("capabilities driver count device_ids options")
_GENERIC = _flat("discrete_resource_spec", discrete_resource_spec=_flat("kind value"))
_RESOURCE = _flat("cpus memory pids devices generic_resources", devices=_REQUEST, generic_resources=_GENERIC)
_UPDATE = _flat("parallelism delay failure_action monitor max_failure_ratio order")
_HOOK = _flat("command user privileged working_dir environment per_replica")
_RATE, _WEIGHT = _flat("Path Rate"), _flat("Path Weight")

_SERVICE = _flat(
    "annotations attach develop blkio_config cap_add cap_drop cgroup_parent cgroup cpu_count cpu_percent cpu_period "
    "cpu_quota cpu_rt_period cpu_rt_runtime cpus cpuset cpu_shares command configs container_name credential_spec "
    "deploy device_cgroup_rules devices dns dns_opt dns_search dockerfile domainname entrypoint provider environment "
    "env_file expose extends external_links extra_hosts group_add gpus hostname healthcheck image init ipc isolation "
    "labels label_file links logging log_driver log_opt mem_limit mem_reservation memswap_limit mem_swappiness "
    "mac_address models net network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports "
    "privileged read_only restart runtime secrets security_opt shm_size stdin_open stop_grace_period stop_signal "
    "storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volume_driver volumes volumes_from "
    "working_dir pre_start post_start pre_stop pull_refresh_after",
    develop=_flat(
        "watch",
        watch=_flat("path action target exec include ignore initial_sync", exec=_HOOK),
    ),
    blkio_config=_flat(
        "weight weight_device device_read_bps device_read_iops device_write_bps device_write_iops",
        weight_device=_WEIGHT,
        device_read_bps=_RATE,
        device_read_iops=_RATE,
        device_write_bps=_RATE,
        device_write_iops=_RATE,
    ),
    configs=_FILE,
    credential_spec=_flat("config file registry"),
    deploy=_flat(
        "mode labels update_config rollback_config resources restart_policy placement endpoint_mode",
        update_config=_UPDATE,
        rollback_config=_UPDATE,
        resources=_flat("limits reservations", limits=_RESOURCE, reservations=_RESOURCE),
        restart_policy=_flat("condition delay max_attempts window"),
        placement=_flat("constraints preferences max_replicas_per_node", preferences=_flat("spread")),
    ),
    devices=_flat("source target permissions"),
    env_file=_flat("path required format"),
    extends=_flat("file service"),
    gpus=_REQUEST,
    healthcheck=_flat("test timeout interval retries start_period start_interval disable"),
    logging=_flat("driver options"),
    models={"*": _flat("endpoint_var model_var")},
    networks={
        "*": _flat(
            "aliases driver_opts gw_priority interface_name ipv4_address ipv6_address link_local_ips mac_address "
            "priority"
        )
    },
    ports=_flat("name mode host_ip target published protocol app_protocol"),
    provider=_flat("type options"),
    secrets=_FILE,
    ulimits={"*": _flat("single soft hard")},
    volumes=_flat(
        "type source target read_only consistency bind volume tmpfs image",
        bind=_flat("selinux propagation create_host_path recursive"),
        volume=_flat("labels nocopy subpath"),
        tmpfs=_flat("size mode"),
        image=_flat("subpath"),
    ),
    post_start=_HOOK,
    pre_stop=_HOOK,
)
# A hook that runs in a container of its own has a service's members, in the order Compose declares them today; a
# service itself keeps the order of old, so that no container is made again by an upgrade.
_OF_A_CONTAINER = (
    "annotations blkio_config cap_add cap_drop cgroup_parent cgroup cpu_count cpu_percent cpu_period cpu_quota "
    "cpu_rt_period cpu_rt_runtime cpus cpuset cpu_shares command configs credential_spec device_cgroup_rules devices "
    "dns dns_opt dns_search domainname entrypoint environment env_file extra_hosts group_add gpus hostname image init "
    "ipc isolation labels label_file logging log_driver log_opt mem_limit mem_reservation memswap_limit mem_swappiness "
    "mac_address models network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform privileged "
    "pull_policy pull_refresh_after read_only runtime secrets security_opt shm_size stop_grace_period stop_signal "
    "storage_opt sysctls tmpfs ulimits use_api_socket user userns_mode uts volume_driver volumes volumes_from "
    "working_dir per_replica"
)
_SERVICE["pre_start"] = {name: _SERVICE.get(name) for name in _OF_A_CONTAINER.split()}


def fingerprint(service: dict[str, Any]) -> str:
    """The hash of one service, given as `config --format json` shows it with `$` written once."""
    import json
    from hashlib import sha256

    kept = {key: value for key, value in service.items() if key not in _LEFT_OUT}
    if isinstance(kept.get("deploy"), dict):
        kept["deploy"] = {key: value for key, value in kept["deploy"].items() if key != "replicas"}
    text = json.dumps(_ordered(kept, _SERVICE), separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _ordered(value: Any, shape: Shape | None) -> Any:
    """`value` with the members of its mappings in Go's order."""
    if isinstance(value, list):
        return [_ordered(item, shape) for item in value]
    if not isinstance(value, dict):
        return value
    shape = shape or {}
    every = shape.get("*")
    names = [name for name in shape if name in value] + sorted(name for name in value if name not in shape)
    return {name: _ordered(value[name], every or shape.get(name)) for name in names}
