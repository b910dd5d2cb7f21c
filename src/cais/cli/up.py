"""`cais up`: the stack comes up, changed services anew, the rest left alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cais.cli.interrupt import interrupted_at_once
from cais.cli.options import INT, STRING, STRINGS, Command, Flag, Given, parse, usage_error
from cais.cli.project import PULL, GlobalOptions, all_services, load_stack, make_progress

if TYPE_CHECKING:
    import socket

    from cais.cli.progress import Progress
    from cais.diag.api import Diagnostic
    from cais.engine.native.images import Policy
    from cais.engine.native.up import Wanted
    from cais.model.api import Stack
    from cais.supervise.api import Desired
    from cais.supervise.client import Client
    from cais.supervise.messages import ApplyOptions, Snapshot

COMMAND = Command(
    "up",
    "Create and start containers",
    "[OPTIONS] [SERVICE...]",
    (
        Flag("abort-on-container-exit", "Stops all containers if any container was stopped. Incompatible with -d"),
        Flag(
            "abort-on-container-failure",
            "Stops all containers if any container exited with failure. Incompatible with -d",
        ),
        Flag("always-recreate-deps", "Recreate dependent containers. Incompatible with --no-recreate."),
        Flag(
            "attach",
            "Restrict attaching to the specified services. Incompatible with --attach-dependencies.",
            "",
            STRINGS,
        ),
        Flag("attach-dependencies", "Automatically attach to log output of dependent services"),
        Flag("build", "Build images before starting containers"),
        Flag("detach", "Detached mode: Run containers in the background", "d"),
        Flag(
            "exit-code-from",
            "Return the exit code of the selected service container. Implies --abort-on-container-exit",
            "",
            STRING,
        ),
        Flag("force-recreate", "Recreate containers even if their configuration and image haven't changed"),
        Flag("menu", "Accepted for Docker Compose's sake: there are no shortcuts, ^C stops"),
        Flag("no-attach", "Do not attach (stream logs) to the specified services", "", STRINGS),
        Flag("no-build", "Don't build an image, even if it's policy"),
        Flag("no-color", "Produce monochrome output"),
        Flag("no-deps", "Don't start linked services"),
        Flag("no-log-prefix", "Don't print prefix in logs"),
        Flag("no-recreate", "If containers already exist, don't recreate them. Incompatible with --force-recreate."),
        Flag("no-start", "Don't start the services after creating them"),
        PULL,
        Flag("quiet-build", "Suppress the build output"),
        Flag("quiet-pull", "Pull without printing progress information"),
        Flag("remove-orphans", "Remove containers for services not defined in the Compose file"),
        Flag(
            "renew-anon-volumes",
            "Recreate anonymous volumes instead of retrieving data from the previous containers",
            "V",
        ),
        Flag(
            "scale",
            "Scale SERVICE to NUM instances. Overrides the `scale` setting in the Compose file if present.",
            "",
            STRINGS,
        ),
        Flag("strict", "Refuse services that would run on less than nearly the program of their image"),
        Flag(
            "timeout",
            "Use this timeout in seconds for container shutdown when attached or when containers are already running",
            "t",
            INT,
        ),
        Flag("timestamps", "Show timestamps"),
        Flag("wait", "Wait for services to be running|healthy. Implies detached mode."),
        Flag("wait-timeout", "Maximum duration in seconds to wait for the project to be running|healthy", "", INT),
        Flag("watch", "Watch source code: not there yet", "w", hidden=True),
        Flag("yes", 'Assume "yes" as answer to all prompts and run non-interactively', "y", also=("y",)),
    ),
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    _consistent(given)
    stack = load_stack(options, services=given.args or None)
    _known(stack, given)
    return _Up(options, given, stack).run()


def _consistent(given: Given) -> None:
    if given.flag("watch"):
        raise usage_error(
            COMMAND, "--watch of Docker Compose is not there yet", "'cais up -d --build' takes changes up"
        )
    detached = given.flag("detach") or given.flag("wait")
    switches = ("abort-on-container-exit", "abort-on-container-failure", "attach-dependencies")
    attached = [n for n in switches if given.flag(n)]
    attached += [n for n in ("exit-code-from", "attach") if given.said(n)]
    if detached and attached:
        raise usage_error(
            COMMAND, f"--{attached[0]} and --{'wait' if given.flag('wait') else 'detach'} exclude each other"
        )
    for one, other in (
        ("force-recreate", "no-recreate"),
        ("build", "no-build"),
        ("abort-on-container-exit", "abort-on-container-failure"),
        ("renew-anon-volumes", "no-recreate"),
        ("always-recreate-deps", "no-recreate"),
        ("attach", "attach-dependencies"),
    ):
        if _asked(given, one) and _asked(given, other):
            raise usage_error(COMMAND, f"--{one} and --{other} exclude each other")


def _asked(given: Given, name: str) -> bool:
    return bool(given.texts(name)) if name == "attach" else given.flag(name)


def _known(stack: Stack, given: Given) -> None:
    from cais.cli.running import need_services

    need_services(None, stack, [*given.args, *given.texts("exit-code-from")])
    strange = [name for name in given.texts("attach") if name not in stack.services]
    if strange:
        raise usage_error(COMMAND, f"cannot attach to services not included in up: {', '.join(strange)}")


class _Up:
    def __init__(self, options: GlobalOptions, given: Given, stack: Stack) -> None:
        self.options, self.given, self.stack = options, given, stack
        self.detached = given.flag("detach") or given.flag("wait") or given.flag("no-start")
        self.asked: list[str] = []  # ids that did not run before, and that ^C stops

    def run(self) -> int:
        try:
            return self._run()
        except KeyboardInterrupt:
            if not self.asked:
                raise
            from cais.cli.attached import INTERRUPTED, stop_gracefully

            stop_gracefully(self.stack.name, self.asked, self._apply_options().stop_timeout)
            return INTERRUPTED

    def _run(self) -> int:
        given, stack = self.given, self.stack
        if given.flag("dry-run") or self.options.dry_run:
            return self._dry_run()
        line, living = self._reach()
        from cais.supervise.client import Client

        client = Client.on(line, stack.name) if living else None
        there = client.status() if client else self._last_known()
        began = time.time_ns()
        with make_progress(self.options, "up") as progress:
            with interrupted_at_once("nothing was started"):
                wanted = self._want(progress, there)
            apply = self._apply_options()
            self._say_differences(progress, wanted, there)
            if not apply.remove_orphans:
                self._say_orphans(progress, there)
            if client is None:
                client = (None if living else Client.on(line, stack.name)) or self._client()
            watcher = None
            if not self.detached:
                watcher = Client.reach(stack.name)
                if watcher is not None:
                    from cais.supervise.messages import Watch

                    watcher.post(Watch())
            self._bring(client, wanted, apply, progress, there)
        with client:
            self._addresses(client)
        if watcher is None:
            return 0
        from cais.cli.attached import Attached

        with watcher:
            return Attached(self.options, given, stack.name, wanted.desired.instances, began).follow(watcher)

    def _want(self, progress: Progress, there: Snapshot | None) -> Wanted:
        from cais.engine.native.up import choose, read_scales, want

        given, stack = self.given, self.stack
        services = choose(stack, given.args, deps=not given.flag("no-deps"))
        names = {service.name for service in services}
        prepared: set[str] = set()

        def say(name: str, text: str) -> None:
            aside = name not in names
            prepared.add(name)
            if not given.flag("quiet-pull"):
                progress.update(name, text, aside=aside)

        wanted = want(
            stack,
            services,
            there.states if there else (),
            say,
            scales=read_scales(given.texts("scale"), stack),
            policy=self._policy(),
            strict=given.flag("strict"),
        )
        if not given.flag("quiet-pull"):
            # A service with several instances has their lines from here on: its own told of the build they share.
            for name in prepared.difference(self._names(wanted, there).values()):
                progress.done(name, "ready", aside=True)
        return wanted

    def _last_known(self) -> Snapshot | None:
        """What the state file says; one that says nothing any more is begun anew, with a word about it."""
        from cais.supervise.client import offline
        from cais.supervise.state import Unreadable

        try:
            return offline(self.stack.name)
        except Unreadable as error:
            if not error.replaceable:
                raise
            print(f"{error.message}; a new one is begun", file=sys.stderr)
            return None

    def _apply_options(self) -> ApplyOptions:
        from cais.supervise.messages import ApplyOptions

        given = self.given
        recreate = "force" if given.flag("force-recreate") else "never" if given.flag("no-recreate") else "changed"
        timeout, wait_timeout = given.number("timeout"), given.number("wait-timeout")
        return ApplyOptions(
            recreate=recreate,
            no_deps=given.flag("no-deps"),
            start=not given.flag("no-start"),
            wait=given.flag("wait"),
            wait_timeout=None if not wait_timeout else float(wait_timeout),
            stop_timeout=None if timeout is None else float(timeout),
            renew_anonymous=given.flag("renew-anon-volumes"),
            remove_orphans=given.flag("remove-orphans"),
            services=all_services(self.options) if given.flag("remove-orphans") else (),
            named=() if given.flag("always-recreate-deps") else tuple(given.args),
            attached=not self.detached,
        )

    def _say_orphans(self, progress: Progress, there: Snapshot | None) -> None:
        """In Compose's words (pkg/compose, create.go). The whole file is read again only where one may be."""
        import os

        strange = [s for s in there.specs if not s.oneoff and s.service not in self.stack.services] if there else []
        if not strange or os.environ.get("COMPOSE_IGNORE_ORPHANS", "").lower() in ("1", "t", "true"):
            return
        known = all_services(self.options)
        names = [spec.id for spec in strange if spec.service not in known]
        if names:
            progress.note(
                f"Found orphan containers ([{' '.join(names)}]) for this project. If you removed or renamed this "
                "service in your compose file, you can run this command with the --remove-orphans flag to clean it up."
            )

    def _dry_run(self) -> int:
        """What would be done, in the order it would be; nothing is fetched, made or started for it."""
        from cais.engine.native.foresee import foresee
        from cais.engine.native.up import choose, read_scales
        from cais.plan.api import Plan
        from cais.supervise.client import Client
        from cais.supervise.diff import diff

        given, stack = self.given, self.stack
        living = Client.reach(stack.name)
        there = living.status() if living else self._last_known()
        states = there.states if there else ()
        seen = foresee(
            stack,
            choose(stack, given.args, deps=not given.flag("no-deps")),
            states,
            scales=read_scales(given.texts("scale"), stack),
            policy=self._policy(),
            strict=given.flag("strict"),
        )
        plan = diff(
            there.specs if there else (),
            {s.id: s for s in states},
            there.networks if there else (),
            seen.desired,
            self._apply_options(),
        )
        sys.stdout.write(Plan((*seen.actions, *plan.actions)).render())
        return 0

    def _policy(self) -> Policy:
        from cais.engine.native.images import Policy

        given = self.given
        return Policy(build="always" if given.flag("build") else "never" if given.flag("no-build") else "auto")

    def _say_differences(self, progress: Progress, wanted: Wanted, there: Snapshot | None) -> None:
        """Once: when the service is made, not at every `up`; a network's when it is."""
        there_are = {network.name for network in there.networks} if there else set()
        if any(network.name not in there_are for network in wanted.desired.networks):
            _warn(progress, wanted.warnings)
        known = {s.service for s in there.specs if s.config_hash in _hashes(wanted)} if there else set()
        for service, sentences in wanted.said.items():
            if service not in known:
                for sentence in sentences:
                    progress.note(f"{service} is {sentence}" if " " not in sentence.split(":")[0] else sentence)
        for service, found in wanted.warned.items():
            if service not in known:
                _warn(progress, found)

    def _reach(self) -> tuple[socket.socket, bool]:
        """A connection to the supervisor, and whether it lived already. One that has to be started gets ready while
        this process imports and plans; without work it ends by itself."""
        from cais.paths import project_home
        from cais.supervise.connect import connect

        sock = connect(project_home(self.stack.name))
        if sock is not None:
            return sock, True
        from cais import __version__
        from cais.engine.native.isolation import make_sandbox
        from cais.supervise.daemon import ensure, prepare_home

        home = prepare_home(self.stack.name)
        return ensure(home, self.stack.name, make_sandbox, __version__), False

    def _client(self) -> Client:
        from cais.engine.native.isolation import make_sandbox
        from cais.supervise.client import Client

        return Client.ensure(self.stack.name, make_sandbox)

    def _bring(
        self, client: Client, wanted: Wanted, apply: ApplyOptions, progress: Progress, there: Snapshot | None
    ) -> None:
        """Carry it out, showing how it goes."""
        from cais.cli.bring import Shower, raise_failures

        shower = Shower(progress, self._names(wanted, there), wait=apply.wait, up=True)
        shower.starts = apply.start
        shower.only = _concerned(wanted.desired, apply, there)
        shower.checked = {s.id for s in wanted.desired.instances if s.health}
        before = {s.id for s in there.states if s.pid} if there else set()
        self.asked = [s.id for s in wanted.desired.instances if s.id not in before]
        shower.show(client.apply(wanted.desired, apply))
        if self.detached:
            self.asked = []
        raise_failures(client.done)

    def _names(self, wanted: Wanted, there: Snapshot | None) -> dict[str, str]:
        from cais.cli.bring import names_of

        pairs = {s.id: s.service for s in (*(there.specs if there else ()), *wanted.desired.instances)}
        return names_of(self.stack.name, pairs.items())

    def _addresses(self, client: Client) -> None:
        from cais.engine.native.addresses import addresses

        now = client.again().status()
        found = addresses(now.specs, now.states)
        width = max((len(service) for service, _ in found), default=0)
        for service, place in found:
            print(f"  {service:<{width}}  {place}", file=sys.stderr)
        for note in now.notes:
            print(f"warning: {note}", file=sys.stderr)


def _warn(progress: Progress, found: Sequence[Diagnostic]) -> None:
    from cais.cli.errors import in_words

    for one in found:
        progress.note(in_words([one]))


def _concerned(desired: Desired, apply: ApplyOptions, there: Snapshot | None) -> set[str]:
    """Ids of what this `up` makes, keeps or takes away. What else happens in the project is not its doing."""
    services = {spec.service for spec in desired.instances} | set(desired.empty)
    going = {
        spec.id
        for spec in (there.specs if there else ())
        if spec.service in services or (apply.remove_orphans and spec.service not in apply.services)
    }
    return going | {spec.id for spec in desired.instances}


def _hashes(wanted: Wanted) -> set[str]:
    return {spec.config_hash for spec in wanted.desired.instances}
