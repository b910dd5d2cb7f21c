"""`cais run`: one more instance of a service, for one command; its exit code is ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cais.cli.interrupt import interrupted_at_once
from cais.cli.options import STRING, STRINGS, Command, Flag, Given, parse, usage_error
from cais.cli.project import PULL, GlobalOptions, all_services, load_stack, make_progress
from cais.diag.api import CaisError

if TYPE_CHECKING:
    from cais.cli.progress import Progress
    from cais.model.api import Service, Stack
    from cais.model.image import Image
    from cais.supervise.api import Desired, InstanceSpec
    from cais.supervise.client import Client

COMMAND = Command(
    "run",
    "Run a one-off command on a service",
    "[OPTIONS] SERVICE [COMMAND] [ARGS...]",
    (
        Flag("build", "Build image before starting container"),
        Flag("cap-add", "Add Linux capabilities", "", STRINGS, type_name="list"),
        Flag("cap-drop", "Drop Linux capabilities", "", STRINGS, type_name="list"),
        Flag("detach", "Run container in background and print container ID", "d"),
        Flag("entrypoint", "Override the entrypoint of the image", "", STRING),
        Flag("env", "Set environment variables", "e", STRINGS),
        Flag("env-from-file", "Set environment variables from file", "", STRINGS),
        Flag("interactive", "Keep STDIN open even if not attached", "i", default="true"),
        Flag("label", "Add or override a label", "l", STRINGS, also=("labels",)),
        Flag("name", "Assign a name to the container", "", STRING),
        Flag("no-deps", "Don't start linked services"),
        Flag("no-tty", "Disable pseudo-TTY allocation (default: auto-detected)", "T", also=("no-TTY",)),
        Flag("publish", "Publish a container's port(s) to the host", "p", STRINGS),
        PULL,
        Flag("quiet", "Don't print anything to STDOUT", "q"),
        Flag("quiet-build", "Suppress progress output from the build process"),
        Flag("quiet-pull", "Pull without printing progress information"),
        Flag("remove-orphans", "Remove containers for services not defined in the Compose file"),
        Flag("rm", "Automatically remove the container when it exits"),
        Flag("service-ports", "Run command with all service's ports enabled and mapped to the host", "P"),
        Flag("tty", "Allocate a pseudo-TTY", "t", hidden=True),
        Flag("use-aliases", "Use the service's network useAliases in the network(s) the container connects to"),
        Flag("user", "Run as specified username or uid", "u", STRING),
        Flag("volume", "Bind mount a volume", "v", STRINGS, also=("volumes",)),
        Flag("workdir", "Working directory inside the container", "w", STRING),
    ),
    interspersed=False,
    least=1,
)


def run(options: GlobalOptions, argv: list[str]) -> int:
    given = parse(COMMAND, argv)
    if given.flag("service-ports") and given.said("publish"):
        raise usage_error(COMMAND, "--service-ports and --publish are incompatible")
    stack = load_stack(options, services=given.args[:1])
    from cais.cli.running import need_services

    need_services(None, stack, given.args[:1])
    return _Run(options, given, stack).run()


class _Run:
    def __init__(self, options: GlobalOptions, given: Given, stack: Stack) -> None:
        from cais.cli.attach import wants_terminal

        self.options, self.given, self.stack = options, given, stack
        self.service = self._changed(stack.services[given.args[0]])
        self.detached = given.flag("detach")
        plain = self.detached or given.flag("no-tty") or not given.flag("interactive", default=True)
        self.terminal = not plain and given.flag("tty", default=True) and wants_terminal()

    def run(self) -> int:
        from contextlib import ExitStack

        from cais.cli.attach import Signals, attend

        given = self.given
        quiet = given.flag("quiet") or given.flag("quiet-pull")
        options = self.options._replace(progress="quiet") if quiet else self.options
        with ExitStack() as session:
            with make_progress(options, "") as progress:
                with interrupted_at_once("nothing was started"):
                    specs, spec, networks = self._prepare(progress)
                if self.options.dry_run or given.flag("dry-run"):
                    for one in specs.instances:
                        print(f"start {one.id}")
                    print(f"run {spec.id}: {' '.join(spec.process.argv)}")
                    return 0
                client = session.enter_context(self._dependencies(progress, specs))
                signals = session.enter_context(Signals(client, give_up=True))
                try:
                    began = self._begin(client, progress, spec, networks)
                    signals.begun()
                except KeyboardInterrupt:
                    return self._give_up(client, spec)
            if not began:
                return self._refused(client)
            if self.detached:
                sys.stdout.write(f"{spec.id}\n")
                return 0
            code = attend(client)
            if client.done.failures or client.done.error:
                from cais.cli.bring import raise_failures

                raise_failures(client.done)
            return code

    # -- what it is to be -----------------------------------------------------------------------------------------

    def _changed(self, service: Service) -> Service:
        """The service as the command line wants it."""
        import shlex

        given = self.given
        command = given.args[1:]
        said = given.said("entrypoint")
        if said:
            # An entrypoint of one's own leaves the image's and the file's command out (Compose, `run`).
            words = tuple(shlex.split(given.text("entrypoint")))
            service = service._replace(entrypoint=words or ("",), command=tuple(command))
        elif command:
            service = service._replace(command=tuple(command))
        if command or said:
            native = service.x_cais.get("native")
            if isinstance(native, dict) and "command" in native:
                from cais.engine.native.images import is_plain

                rest = {key: value for key, value in native.items() if key != "command"}
                if is_plain(service):  # its entrypoint is of an image that is not there
                    rest["command"] = [*(shlex.split(given.text("entrypoint")) if said else ()), *command]
                service = service._replace(x_cais={**service.x_cais, "native": rest})
        return service._replace(
            user=given.text("user") or service.user,
            working_dir=given.text("workdir") or service.working_dir,
            cap_add=(*service.cap_add, *given.texts("cap-add")),
            cap_drop=(*service.cap_drop, *given.texts("cap-drop")),
            labels=(*service.labels, *(_pair(text) for text in given.texts("label"))),
            volumes=(*service.volumes, *(self._volume(text) for text in given.texts("volume"))),
            ports=self._ports(service),
            container_name="",
        )

    def _volume(self, text: str):  # type: ignore[no-untyped-def]
        from cais.load.volumes import parse as parse_volume
        from cais.model.api import Volume

        try:
            found = parse_volume(text)
        except ValueError as error:
            raise usage_error(COMMAND, f"invalid --volume {text!r}: {error}") from error
        source = found.get("source", "")
        if found["type"] == "bind":
            source = os.path.abspath(os.path.expanduser(source))
        elif source and source not in self.stack.volumes:
            raise usage_error(
                COMMAND, f"--volume {text}: the file has no volume {source!r}", "a folder begins with ./ or /"
            )
        return Volume(found["type"], found["target"], source, bool(found.get("read_only")))

    def _ports(self, service: Service):  # type: ignore[no-untyped-def]
        from cais.load.ports import parse as parse_ports
        from cais.model.api import Port

        if self.given.flag("service-ports"):
            return service.ports
        ports = []
        for text in self.given.texts("publish"):
            try:
                found = parse_ports(text)
            except ValueError as error:
                raise usage_error(COMMAND, f"invalid --publish {text!r}: {error}") from error
            ports += [
                Port(one["target"], one.get("published", ""), one.get("host_ip", ""), one["protocol"]) for one in found
            ]
        return tuple(ports)

    def _prepare(self, progress: Progress) -> tuple[Desired, InstanceSpec, Desired]:
        """(what must run before it, its spec, the networks it is on)."""
        from msgspec.structs import replace

        from cais.cli.exec import environment
        from cais.diag.api import Faults
        from cais.engine.native.images import Policy, prepare, unavailable
        from cais.engine.native.preflight import early, make_places, preflight, warnings
        from cais.engine.native.specs import dependencies_of, instance, net_of, networks_of, ports_of
        from cais.engine.native.up import choose, places_of, specify
        from cais.supervise.api import Desired
        from cais.supervise.client import snapshot

        given, stack, service = self.given, self.stack, self.service
        there = snapshot(stack.name)
        states = there.states if there else ()
        deps: list[Service] = []
        if not given.flag("no-deps"):
            names = [one.service for one in dependencies_of(service)]
            deps = [one for one in choose(stack, names) if one.name != service.name] if names else []
        policy = Policy(build="always" if given.flag("build") else "auto")
        if faults := early(stack, [*deps, service], states, {service.name: 1}):
            raise Faults([*faults, *unavailable(stack, [*deps, service], policy)])
        images = prepare(stack, [*deps, service], progress.update, policy)
        nothing = Desired(project=stack.name, networks=(), instances=())
        before = specify(stack, deps, images, states, {}).desired if deps else nothing

        name = given.text("name") or f"{stack.name}-{service.name}-run-{os.urandom(6).hex()}"
        spec = instance(stack, service, 1, self._image(images), places_of(stack.name), {}, id=name, oneoff=True)
        own = environment(given.texts("env"), stack.environment)
        for path in given.texts("env-from-file"):
            own = {**_from_file(path, own, stack.environment), **own}
        if self.terminal:
            own = {"TERM": os.environ.get("TERM") or "xterm", **own}
        spec = replace(
            spec,
            process=replace(spec.process, env={**spec.process.env, **own}, tty=self.terminal),
            ports=ports_of(service, 1),
            remove_on_exit=given.flag("rm"),
            depends_on=() if given.flag("no-deps") else spec.depends_on,
            net=net_of(stack, service, name, spec.net.hostname, ()) if given.flag("use-aliases") else spec.net,
        )
        alone = Desired(
            project=stack.name,
            networks=networks_of(stack, [service]),
            instances=(spec,),
            config_files=tuple(stack.files),
            working_dir=stack.working_dir,
        )
        faults = preflight(stack, [service], alone, states)
        if faults:
            raise Faults([one for one in faults if one.code != "no-healthcheck"] or faults)
        from cais.cli.errors import in_words

        for warning in warnings(stack, service):
            progress.note(in_words([warning]))
        make_places([service], alone)
        return before, spec, replace(alone, instances=())

    def _image(self, images: dict[str, Image]) -> Image:
        return images[self.service.name]

    # -- carrying it out ------------------------------------------------------------------------------------------

    def _dependencies(self, progress: Progress, before: Desired) -> Client:
        """A connection, once what the service depends on has been started."""
        from cais.cli.bring import Shower, names_of, raise_failures
        from cais.engine.native.isolation import make_sandbox
        from cais.supervise.client import Client
        from cais.supervise.messages import ApplyOptions

        orphans = self.given.flag("remove-orphans")
        client = Client.ensure(self.stack.name, make_sandbox)
        if not before.instances and not orphans:
            return client
        options = ApplyOptions(remove_orphans=orphans, services=all_services(self.options) if orphans else ())
        shower = Shower(progress, names_of(self.stack.name, [(one.id, one.service) for one in before.instances]))
        with client:
            shower.show(event for event in client.apply(before, options) if event.kind != "running")
            raise_failures(client.done)
        return Client.ensure(self.stack.name, make_sandbox)

    def _begin(self, client: Client, progress: Progress, spec: InstanceSpec, networks: Desired) -> bool:
        """Send it and show what it waits for. False: it could not start, see `client.done`."""
        from cais.cli.bring import Shower
        from cais.supervise.messages import Began, Done, Run, Told

        fds = self._descriptors()
        try:
            client.post(Run(spec=spec, desired=networks, attached=not self.detached), fds)
        finally:
            if fds and fds[0] != 0:
                os.close(fds[0])
        shower = Shower(progress, {spec.id: self.service.name})
        while True:
            try:
                message, received = client.receive()
            except (EOFError, ConnectionError):
                raise CaisError("the supervisor is gone", hint="'cais ps' shows what is left") from None
            match message:
                case Began():
                    client.terminal = received[0] if received else -1
                    return True
                case Told(event=event) if event.id == spec.id:
                    if event.kind == "started" and not self.terminal and not self.detached:
                        shower.say_notes()
                        return True
                    if event.kind in ("waiting", "noted"):
                        shower.one(event)
                case Done():
                    return self.detached and not message.exit_code

    def _give_up(self, client: Client, spec: InstanceSpec) -> int:
        """^C before it was there: whether it waits for others, is being made or has just begun, it is not to run."""
        from cais.cli.attached import INTERRUPTED, stop_gracefully

        client.close()  # a request that has not been looked at yet is not carried out then
        stop_gracefully(self.stack.name, [spec.id], None, verb="remove" if spec.remove_on_exit else "stop")
        return INTERRUPTED

    def _descriptors(self) -> list[int]:
        if self.terminal or self.detached:
            return []
        if self.given.flag("interactive", default=True):
            return [0, 1, 2]
        return [os.open(os.devnull, os.O_RDONLY), 1, 2]

    def _refused(self, client: Client) -> int:
        from cais.cli.bring import raise_failures

        raise_failures(client.done)
        return client.done.exit_code


def _from_file(path: str, known: Mapping[str, str], around: Mapping[str, str]) -> dict[str, str]:
    """The variables of a file, read as Compose reads one; a name without a value takes the project's."""
    from cais.load.interpolate import Substitution, TemplateError
    from cais.source.files import Unreadable, read_text
    from cais.source.formats import env

    def expand(value: str, seen: dict[str, str], at: int) -> str:
        return Substitution(lambda name: known.get(name, seen.get(name))).replace(value)

    try:
        found = env.read(env.lines(read_text(os.path.abspath(path))), expand)
    except Unreadable as error:
        raise CaisError(f"cannot read --env-from-file {path}: {error.reason}", exit_code=2) from error
    except env.EnvFault as error:
        raise CaisError(f"{path}:{error.line + 1}:{error.column + 1}: {error.message}", exit_code=2) from error
    except TemplateError as error:
        raise CaisError(f"{path}: {error.message}", hint=error.hint, exit_code=2) from error
    given = {one.name: around.get(one.name) if one.value is None else one.value for one in found}
    return {name: value for name, value in given.items() if value is not None}


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


__all__: Sequence[str] = ("COMMAND", "run")
