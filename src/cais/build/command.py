"""RUN as a step of a stage: its command, variables and mounts into the key, then into the sandbox."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cais.build import mounts as asking
from cais.build.config import Scope, fault
from cais.build.context import Found, NoSource
from cais.build.copy import How, Writer, copy
from cais.build.layers import digest
from cais.build.mounts import Asked
from cais.build.stages import PROXIES
from cais.build.view import View, look_up_owner
from cais.paths import cache_folder, private_dir
from cais.source.formats.dockerfile import Instruction, is_only_heredoc

if TYPE_CHECKING:
    from cais.build.walker import Step, Walker
    from cais.sandbox.api import Mount

SCRIPTS = "/dev/pipes"  # where BuildKit puts a here-document that begins with #!


class Script(NamedTuple):
    """A here-document with its own interpreter."""

    name: str
    content: str


async def run(walker: Walker, instruction: Instruction, step: Step) -> None:
    scope = walker.scope
    argv, script = _argv(walker, instruction)
    asked = asking.read(instruction, scope)
    network = network_of(instruction, scope, walker.plan.request.network)
    env = scope.variables()
    quiet = {n: v for n, v in walker.plan.args.items() if n.upper() in PROXIES}
    key = digest(
        "run",
        walker.key,
        argv,
        script,
        sorted(env.items()),
        scope.config.user,
        scope.config.working_dir,
        network,
        [await _fact(walker, one, step) for one in asked],
        os.geteuid() == 0,
    )
    layers = tuple(walker.layers) or (walker.plan.empty(),)

    async def fill(scratch: str) -> None:
        runner = walker.plan.runner
        assert runner is not None
        async with walker.plan.turns:
            await _run(walker, step, scratch, layers, argv, script, {**quiet, **env}, asked, network)

    await walker.layer(key, step, fill)


def _argv(walker: Walker, instruction: Instruction) -> tuple[tuple[str, ...], Script | None]:
    shell = walker.scope.config.shell
    if not instruction.heredocs:
        return walker.scope.command(instruction), None
    first = instruction.heredocs[0]
    if len(instruction.heredocs) == 1 and is_only_heredoc(instruction.text):
        if first.content.startswith("#!"):
            return (f"{SCRIPTS}/{first.name}",), Script(first.name, first.content)
        return (*shell, first.content), None
    whole = instruction.text
    for heredoc in instruction.heredocs:
        whole += f"\n{heredoc.content}{heredoc.name}"
    return (*shell, whole), None


def network_of(instruction: Instruction, scope: Scope, allowed: str) -> str:
    """`default`, `none` or `host`; `allowed` is the compose file's `build.network`."""
    wanted = scope.expand(instruction.flag("network") or "", instruction.span)
    if instruction.flag("security") == "insecure":
        raise fault(
            "dockerfile-security",
            "RUN --security=insecure is not carried out: a build gets Docker's default capabilities and no more",
            instruction.span,
            "remove the flag, or build this service with Docker",
        )
    if instruction.all_flags("device"):
        raise fault("dockerfile-device", "RUN --device is not carried out", instruction.span)
    if wanted not in {"", "default", "none", "host"}:
        raise fault("dockerfile-network", f"--network={wanted}: it is default, none or host", instruction.span)
    if wanted == "host" and allowed != "host":
        raise fault(
            "dockerfile-network",
            "RUN --network=host would open this machine's network to the build",
            instruction.span,
            "allow it with build.network: host in the compose file",
        )
    if wanted in {"", "default"}:
        return allowed if allowed in {"none", "host"} else "default"
    return wanted


async def _fact(walker: Walker, asked: Asked, step: Step) -> object:
    """What of a mount is part of the key: all but the value of a secret and what a cache holds."""
    fact = asked._replace(flag=None)  # type: ignore[arg-type]
    if asked.kind != "bind":
        return tuple(fact)
    tree = await walker.plan.tree(asked.source_from, walker.stage, asked.flag.span)
    found = _bind_source(walker, tree, asked, step)
    if tree.digest:
        return (*fact, tree.digest)
    return (*fact, await walker.plan.off(tree.digest_of, [found]))


def _bind_source(walker: Walker, tree: object, asked: Asked, step: Step) -> Found:
    from cais.build.context import Tree

    assert isinstance(tree, Tree)
    try:
        return tree.match(asked.source or "/")[0]
    except (NoSource, IndexError) as err:
        raise walker.error(step, f"--mount: {err}", getattr(err, "hint", ""), span=asked.flag.span) from err


async def _run(
    walker: Walker,
    step: Step,
    scratch: str,
    layers: tuple[str, ...],
    argv: tuple[str, ...],
    script: Script | None,
    env: dict[str, str],
    asked: list[Asked],
    network: str,
) -> None:
    from cais.build import explain
    from cais.build.run import Command, Failed
    from cais.sandbox.api import Mount, Refused

    plan, scope = walker.plan, walker.scope
    assert plan.runner is not None
    view = View(layers)
    user = scope.config.user
    try:
        uid = look_up_owner(view, user.partition(":")[0])[0] if user else 0
    except LookupError as err:
        raise walker.error(step, str(err.args[0]), "add the user in a RUN before USER") from err
    locks: list[int] = []
    env = dict(env)
    made: list[Mount] = []
    if script is not None:
        made.append(
            Mount(
                kind="file",
                target=f"{SCRIPTS}/{script.name}",
                content=script.content.encode(),
                mode=0o755,
                read_only=True,
            )
        )
    staging = f"{scratch}/mounts"
    try:
        for number, one in enumerate(asked):
            mount = await _mount(walker, one, step, env, f"{staging}/{number}", locks)
            if mount is not None:
                made.append(mount)
        command = Command(
            layers=layers,
            argv=argv,
            env=env,
            cwd=scope.config.working_dir or "/",
            user=user,
            uid=uid,
            mounts=tuple(made),
            network=network,
            extra_hosts=plan.request.extra_hosts,
            shm_size=plan.request.shm_size,
        )
        if script is not None:
            command = command._replace(mounts=_executable(made, script, f"{scratch}/script"))
        await plan.runner.run(command, scratch, lambda line: walker.say("output", step, _masked(plan, line)))
    except Refused as err:
        raise walker.error(step, str(err)) from err
    except Failed as err:
        raise explain.failed(
            plan.name,
            step.text if len(step.text) <= 200 else step.text[:199] + "…",
            step.span,
            err.code,
            [_masked(plan, line) for line in err.lines],
            base=walker.stage.base[1],
            differs=walker.base.differs,
            root=os.geteuid() == 0,
        ) from err
    finally:
        from cais.fetch.store import remove

        remove(Path(staging))
        remove(Path(f"{scratch}/script"))
        for fd in locks:
            os.close(fd)


def _executable(made: list[Mount], script: Script, host: str) -> tuple[Mount, ...]:
    """`file` mounts are noexec, and this one is to be executed: a bind of a file of ours."""
    from cais.sandbox.api import Mount

    with open(host, "w", encoding="utf-8") as file:
        file.write(script.content)
    os.chmod(host, 0o755)
    bind = Mount(kind="bind", source=host, target=f"{SCRIPTS}/{script.name}", read_only=True)
    return tuple(bind if m.target == bind.target else m for m in made)


def _masked(plan: object, line: str) -> str:
    """A secret that a command prints stays out of progress, errors and logs."""
    from cais.build.plan import Plan

    assert isinstance(plan, Plan)
    for value in plan.secret_values:
        if value in line:
            line = line.replace(value, "********")
    return line


async def _mount(
    walker: Walker, asked: Asked, step: Step, env: dict[str, str], staging: str, locks: list[int]
) -> Mount | None:
    from cais.sandbox.api import Mount

    match asked.kind:
        case "tmpfs":
            return Mount(kind="tmpfs", target=asked.target, size=asked.size, mode=0o1777)
        case "secret":
            return _secret(walker, asked, step, env)
        case "cache":
            return Mount(
                kind="cache", target=asked.target, source=await _cache(walker, asked, locks), read_only=not asked.write
            )
    tree = await walker.plan.tree(asked.source_from, walker.stage, asked.flag.span)
    found = _bind_source(walker, tree, asked, step)
    entry = found.entry
    plain = len(entry.places) == 1 and not asked.write and not tree.ignore
    if plain:
        return Mount(kind="bind", target=asked.target, source=entry.host, read_only=True)
    os.makedirs(staging)
    writer = Writer(staging, ())
    name = "tree" if entry.is_dir else "file"
    await walker.plan.off(lambda: copy(writer, tree, [Found(name, entry)], [], f"/{name}", How(), many=False))
    return Mount(kind="bind", target=asked.target, source=f"{staging}/{name}", read_only=not asked.write)


def _secret(walker: Walker, asked: Asked, step: Step, env: dict[str, str]) -> Mount | None:
    from cais.sandbox.api import Mount

    for name, path, value in walker.plan.request.secrets:
        if name != asked.id:
            continue
        if value is not None:
            content = value.encode()
        else:
            try:
                content = Path(path or "").read_bytes()
            except OSError as err:
                raise walker.error(step, f"the secret {name}: cannot read {path}: {err.strerror}") from err
        if asked.env:
            env[asked.env] = content.decode("utf-8", "surrogateescape")
        if not asked.target:
            return None
        mode = 0o400 if asked.mode is None else asked.mode
        return Mount(
            kind="file", target=asked.target, content=content, mode=mode, uid=asked.uid, gid=asked.gid, read_only=True
        )
    if asked.required:
        raise walker.error(
            step,
            f"the secret {asked.id} is required and not given",
            "name it under build.secrets in the compose file",
            span=asked.flag.span,
        )
    return None


async def _cache(walker: Walker, asked: Asked, locks: list[int]) -> str:
    """A directory that outlives builds, one per id (and stage it starts from). Lost, it costs only time."""
    name = digest("cache", asked.id, asked.source_from, asked.source)[:24]
    home = private_dir(cache_folder("build") / "mounts")
    folder = home / name
    if asked.sharing == "private":
        number = 0
        while (fd := _try_lock(home / f"{name}.{number}.lock")) < 0:
            number += 1
        locks.append(fd)
        folder = home / f"{name}.{number}"
    elif asked.sharing == "locked":
        import asyncio

        while (fd := _try_lock(home / f"{name}.lock")) < 0:
            await asyncio.sleep(0.05)
        locks.append(fd)
    if not folder.exists():
        folder.mkdir(mode=0o755, exist_ok=True)
        if asked.source_from:
            tree = await walker.plan.tree(asked.source_from, walker.stage, asked.flag.span)
            found = tree.match(asked.source or "/")[0]
            await walker.plan.off(lambda: copy(Writer(str(folder), ()), tree, [found], [], "/", How(), many=False))
        folder.chmod(0o755 if asked.mode is None else asked.mode)
        if os.geteuid() == 0:
            os.chown(folder, asked.uid, asked.gid)
    return str(folder)


def _try_lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd
