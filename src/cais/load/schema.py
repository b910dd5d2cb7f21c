"""The Compose specification as a table: which keys there are and what may stand under them.

Facts from the specification's schema as Docker Compose 5.6 carries it (github.com/compose-spec/compose-spec,
Apache-2.0), in this project's own notation. Every mapping also takes `x-…` keys unless it says otherwise.
"""

from __future__ import annotations

from cais.load.shapes import NULL, Shape

NAME = r"[a-zA-Z0-9._-]+\Z"

TEXT = Shape(str)
BOOL = Shape(bool)
FLAG = Shape(bool, str)
INT = Shape(int)
COUNT = Shape(int, str)
NUMBER = Shape(float, str)
SCALAR = Shape(str, int, float, bool, NULL)
ANY = Shape(str, int, float, bool, NULL, items=None, open=True)
TEXTS = Shape(items=TEXT)
NAMES = Shape(items=TEXT, unique=True)
TEXT_OR_NAMES = Shape(str).or_(NAMES)
TEXT_OR_TEXTS = Shape(str, items=TEXT)
PAIRS = Shape(items=TEXT, unique=True, rest=SCALAR, what="value")
HOSTS = Shape(items=TEXT, unique=True, rest=TEXT_OR_TEXTS, what="value")
COMMAND = Shape(str, NULL, items=TEXT)
OPTIONS = Shape(rest=Shape(str, float), open=True)


def record(needs: tuple[str, ...] = (), **fields: Shape) -> Shape:
    return Shape(fields=fields, needs=needs)


def named(shape: Shape, what: str) -> Shape:
    return Shape(rest=shape, key=NAME, what=what)


_HOOK_FIELDS = {"command": COMMAND, "user": TEXT, "privileged": FLAG, "working_dir": TEXT, "environment": PAIRS}
HOOK = Shape(fields=_HOOK_FIELDS, needs=("command",))

GRANTS = Shape(items=Shape(str).or_(record(source=TEXT, target=TEXT, uid=TEXT, gid=TEXT, mode=NUMBER)))

ULIMITS = Shape(
    rest=COUNT.or_(record(hard=COUNT, soft=COUNT, needs=("soft", "hard"))), key=r"[a-z]+\Z", open=True
)  # fmt: skip

_BLKIO_RATES = Shape(items=Shape(fields={"path": TEXT, "rate": COUNT}, what="option"))
_BLKIO = Shape(
    fields={
        "device_read_bps": _BLKIO_RATES,
        "device_read_iops": _BLKIO_RATES,
        "device_write_bps": _BLKIO_RATES,
        "device_write_iops": _BLKIO_RATES,
        "weight": COUNT,
        "weight_device": Shape(items=Shape(fields={"path": TEXT, "weight": COUNT}, what="option")),
    },
    what="option",
)

_DEVICE_FIELDS = {"capabilities": NAMES, "count": COUNT, "device_ids": NAMES, "driver": TEXT, "options": PAIRS}
DEVICES = Shape(items=Shape(fields=_DEVICE_FIELDS, needs=("capabilities",)))
GPUS = Shape(str, items=Shape(fields=_DEVICE_FIELDS, open=True), choices=("all",))

VOLUME = Shape(str).or_(
    record(
        needs=("type",),
        type=Shape(str, choices=("bind", "volume", "tmpfs", "cluster", "npipe", "image")),
        source=TEXT,
        target=TEXT,
        read_only=FLAG,
        consistency=TEXT,
        bind=record(
            propagation=TEXT,
            create_host_path=FLAG,
            recursive=Shape(str, choices=("enabled", "disabled", "writable", "readonly")),
            selinux=Shape(str, choices=("z", "Z")),
        ),
        volume=record(labels=PAIRS, nocopy=FLAG, subpath=TEXT),
        tmpfs=record(size=Shape(int, str, low=0), mode=NUMBER),
        image=record(subpath=TEXT),
    )
)

ENV_FILE = Shape(
    str,
    items=Shape(str).or_(
        Shape(fields={"path": TEXT, "format": TEXT, "required": FLAG}, needs=("path",), what="option")
    ),
)

SERVICE_NETWORK = Shape(NULL).or_(
    record(
        aliases=NAMES,
        interface_name=TEXT,
        ipv4_address=TEXT,
        ipv6_address=TEXT,
        link_local_ips=NAMES,
        mac_address=TEXT,
        driver_opts=OPTIONS,
        priority=Shape(float),
        gw_priority=Shape(float),
    )
)

CONTAINER: dict[str, Shape] = {
    "annotations": PAIRS,
    "blkio_config": _BLKIO,
    "cap_add": NAMES,
    "cap_drop": NAMES,
    "cgroup": Shape(str, choices=("host", "private")),
    "cgroup_parent": TEXT,
    "command": COMMAND,
    "configs": GRANTS,
    "cpu_count": Shape(int, str, low=0),
    "cpu_percent": Shape(int, str, low=0, high=100),
    "cpu_shares": NUMBER,
    "cpu_quota": NUMBER,
    "cpu_period": NUMBER,
    "cpu_rt_period": NUMBER,
    "cpu_rt_runtime": NUMBER,
    "cpus": NUMBER,
    "cpuset": TEXT,
    "credential_spec": record(config=TEXT, file=TEXT, registry=TEXT),
    "device_cgroup_rules": NAMES,
    "devices": Shape(items=Shape(str).or_(record(needs=("source",), source=TEXT, target=TEXT, permissions=TEXT))),
    "dns": TEXT_OR_NAMES,
    "dns_opt": NAMES,
    "dns_search": TEXT_OR_NAMES,
    "domainname": TEXT,
    "entrypoint": COMMAND,
    "env_file": ENV_FILE,
    "label_file": TEXT_OR_TEXTS,
    "environment": PAIRS,
    "extra_hosts": HOSTS,
    "gpus": GPUS,
    "group_add": Shape(items=NUMBER, unique=True),
    "hostname": TEXT,
    "image": TEXT,
    "init": FLAG,
    "ipc": TEXT,
    "isolation": TEXT,
    "labels": PAIRS,
    "logging": record(driver=TEXT, options=Shape(rest=Shape(str, float, NULL), open=True)),
    "mac_address": TEXT,
    "mem_limit": NUMBER,
    "mem_reservation": COUNT,
    "mem_swappiness": COUNT,
    "memswap_limit": NUMBER,
    "network_mode": TEXT,
    "models": NAMES.or_(Shape(rest=Shape(NULL).or_(record(endpoint_var=TEXT, model_var=TEXT)), key=NAME, open=True)),
    "networks": NAMES.or_(named(SERVICE_NETWORK, "network")),
    "oom_kill_disable": FLAG,
    "oom_score_adj": Shape(int, str, low=-1000, high=1000),
    "pid": Shape(str, NULL),
    "pids_limit": NUMBER,
    "platform": TEXT,
    "privileged": FLAG,
    "pull_policy": Shape(
        str, pattern=r"^(always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+)$"
    ),
    "pull_refresh_after": TEXT,
    "read_only": FLAG,
    "runtime": TEXT,
    "security_opt": NAMES,
    "shm_size": NUMBER,
    "secrets": GRANTS,
    "sysctls": PAIRS,
    "stop_grace_period": TEXT,
    "stop_signal": TEXT,
    "storage_opt": Shape(open=True),
    "tmpfs": TEXT_OR_NAMES,
    "ulimits": ULIMITS,
    "use_api_socket": BOOL,
    "user": TEXT,
    "uts": TEXT,
    "userns_mode": TEXT,
    "volumes": Shape(items=VOLUME, unique=True),
    "volumes_from": NAMES,
    "working_dir": TEXT,
}

BUILD = Shape(str).or_(
    record(
        context=TEXT,
        dockerfile=TEXT,
        dockerfile_inline=TEXT,
        entitlements=TEXTS,
        args=PAIRS,
        ssh=PAIRS,
        labels=PAIRS,
        cache_from=TEXTS,
        cache_to=TEXTS,
        no_cache=FLAG,
        no_cache_filter=TEXT_OR_NAMES,
        additional_contexts=PAIRS,
        network=TEXT,
        provenance=FLAG,
        sbom=FLAG,
        pull=FLAG,
        target=TEXT,
        shm_size=COUNT,
        extra_hosts=HOSTS,
        isolation=TEXT,
        privileged=FLAG,
        secrets=GRANTS,
        tags=TEXTS,
        ulimits=ULIMITS,
        platforms=TEXTS,
    )
)

WORKLOAD: dict[str, Shape] = {
    "build": BUILD,
    "depends_on": NAMES.or_(
        named(
            record(
                needs=("condition",),
                restart=FLAG,
                required=BOOL,
                condition=Shape(str, choices=("service_started", "service_healthy", "service_completed_successfully")),
            ),
            "service",
        )
    ),
    "healthcheck": record(
        disable=FLAG,
        interval=TEXT,
        retries=NUMBER,
        test=TEXT_OR_TEXTS,
        timeout=TEXT,
        start_period=TEXT,
        start_interval=TEXT,
    ),
    "ports": Shape(
        items=NUMBER.or_(
            record(
                name=TEXT,
                mode=TEXT,
                host_ip=TEXT,
                target=COUNT,
                published=COUNT,
                protocol=TEXT,
                app_protocol=TEXT,
            )
        ),
        unique=True,
    ),
    "expose": Shape(items=NUMBER, unique=True),
    "stdin_open": FLAG,
    "tty": FLAG,
}

_ROLL = record(
    parallelism=COUNT,
    delay=TEXT,
    failure_action=TEXT,
    monitor=TEXT,
    max_failure_ratio=NUMBER,
    order=Shape(str, choices=("start-first", "stop-first")),
)
DEPLOY = Shape(NULL).or_(
    record(
        mode=TEXT,
        endpoint_mode=TEXT,
        replicas=COUNT,
        labels=PAIRS,
        rollback_config=_ROLL,
        update_config=_ROLL,
        resources=record(
            limits=record(cpus=NUMBER, memory=TEXT, pids=COUNT),
            reservations=record(
                cpus=NUMBER,
                memory=TEXT,
                generic_resources=Shape(items=record(discrete_resource_spec=record(kind=TEXT, value=NUMBER))),
                devices=DEVICES,
            ),
        ),
        restart_policy=record(condition=TEXT, delay=TEXT, max_attempts=COUNT, window=TEXT),
        placement=record(constraints=TEXTS, preferences=Shape(items=record(spread=TEXT)), max_replicas_per_node=COUNT),
    )
)

DEVELOP = Shape(NULL).or_(
    record(
        watch=Shape(
            items=record(
                needs=("path", "action"),
                ignore=TEXT_OR_NAMES,
                include=TEXT_OR_NAMES,
                path=TEXT,
                action=Shape(str, choices=("rebuild", "sync", "restart", "sync+restart", "sync+exec")),
                target=TEXT,
                exec=HOOK,
                initial_sync=BOOL,
            )
        )
    )
)

_PROVIDER_VALUE = Shape(str, float, bool)
SERVICE = Shape(
    fields={
        **CONTAINER,
        **WORKLOAD,
        "deploy": DEPLOY,
        "develop": DEVELOP,
        "profiles": NAMES,
        "restart": TEXT,
        "scale": COUNT,
        "attach": FLAG,
        "container_name": Shape(str, pattern="[a-zA-Z0-9][a-zA-Z0-9_.-]+"),
        "provider": record(
            needs=("type",),
            type=TEXT,
            options=Shape(rest=_PROVIDER_VALUE.or_(Shape(items=_PROVIDER_VALUE)), open=True),
        ),
        "extends": Shape(str).or_(Shape(fields={"service": TEXT, "file": TEXT}, needs=("service",), what="option")),
        "links": NAMES,
        "external_links": NAMES,
        "pre_start": Shape(items=Shape(fields={**CONTAINER, "per_replica": FLAG})),
        "post_start": Shape(items=HOOK),
        "pre_stop": Shape(items=HOOK),
    }
)

_SCHEDULE = record(
    needs=("cron",),
    cron=TEXT,
    timezone=TEXT,
    concurrency=Shape(str, choices=("forbid", "queue")),
    missed_fires=Shape(str, choices=("one", "skip")),
)
JOB = Shape(
    fields={
        **CONTAINER,
        **WORKLOAD,
        "profiles": NAMES,
        "triggers": record(manual=FLAG, schedule=Shape(items=TEXT.or_(_SCHEDULE))),
    },
    needs=("triggers",),
)

_EXTERNAL = FLAG.or_(record(name=TEXT))
_LOOSE_EXTERNAL = FLAG.or_(Shape(fields={"name": TEXT}, open=True))

NETWORK = Shape(NULL).or_(
    record(
        name=TEXT,
        driver=TEXT,
        driver_opts=OPTIONS,
        ipam=record(
            driver=TEXT,
            config=Shape(
                items=record(subnet=TEXT, ip_range=TEXT, gateway=TEXT, aux_addresses=Shape(rest=TEXT, what="value"))
            ),
            options=Shape(rest=TEXT, what="value"),
        ),
        external=_EXTERNAL,
        internal=FLAG,
        enable_ipv4=FLAG,
        enable_ipv6=FLAG,
        attachable=FLAG,
        labels=PAIRS,
    )
)

TOP_VOLUME = Shape(NULL).or_(record(name=TEXT, driver=TEXT, driver_opts=OPTIONS, external=_EXTERNAL, labels=PAIRS))

SECRET = record(
    name=TEXT,
    environment=TEXT,
    file=TEXT,
    external=_LOOSE_EXTERNAL,
    labels=PAIRS,
    driver=TEXT,
    driver_opts=OPTIONS,
    template_driver=TEXT,
)

CONFIG = record(
    name=TEXT,
    content=TEXT,
    environment=TEXT,
    file=TEXT,
    external=_LOOSE_EXTERNAL,
    labels=PAIRS,
    template_driver=TEXT,
)

MODEL = record(needs=("model",), name=TEXT, model=TEXT, context_size=INT, runtime_flags=TEXTS)

INCLUDE = Shape(str).or_(
    Shape(fields={"path": TEXT_OR_NAMES, "env_file": TEXT_OR_NAMES, "project_directory": TEXT}, what="option")
)

FILE = record(
    version=TEXT,
    name=TEXT,
    include=Shape(items=INCLUDE),
    services=named(SERVICE, "service"),
    models=named(MODEL, "model"),
    networks=named(NETWORK, "network"),
    volumes=named(TOP_VOLUME, "volume"),
    secrets=named(SECRET, "secret"),
    configs=named(CONFIG, "config"),
    jobs=named(JOB, "job"),
)
