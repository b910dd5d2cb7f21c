"""`StackSandbox`: the supervisor's handle on one stack init. What is decided is decided here; init only carries out."""

import asyncio
import binascii
import errno
import gc
import os
import re
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec

from cais.sandbox import addresses, dns, etc, init, kernel, limits, ports, relay, wire
from cais.sandbox.addresses import Subnet
from cais.sandbox.api import Net, NetworkSpec, OnExit, PortSpec, Process, Refused, Root, Spawned
from cais.sandbox.messages import (
    AddBridge,
    BorderRequest,
    Cancel,
    DeleteLink,
    Done,
    Enter,
    Exited,
    Link,
    OpenGateway,
    Publish,
    Ready,
    Reply,
    Request,
    Spawn,
    StartBorder,
    Unpublish,
)

_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)
_BOOT = 60  # seconds; a hundredth of one is usual
_FIRST_BRIDGE, _FIRST_VETH, _FIRST_PEER = 1000, 10000, 32  # above what the kernel makes by itself in a new namespace


class _Bridge:
    def __init__(self, subnet: Subnet, index: int, *, internal: bool, mtu: int) -> None:
        self.subnet, self.index, self.internal, self.mtu = subnet, index, internal, mtu
        self.name = f"br{index}"
        self.open = False  # what goes to its gateway is looked at: see `OpenGateway`


class _Running:
    """An instance or an entered process that lives."""

    def __init__(self, pidfd: int, pid: int) -> None:
        self.pidfd, self.pid = pidfd, pid


class _Attached:
    """What an instance holds of the networks, from before its clone until its exit."""

    def __init__(self) -> None:
        self.addresses: dict[str, IPv4Address] = {}
        self.links: list[Link] = []
        self.server: dns.Server | None = None
        self.host_gateway = False
        self.group = limits.NO_GROUP

    @property
    def gateway(self) -> str:
        return next((link.gateway for link in self.links if link.gateway), "")


class StackSandbox:
    """Make it with `boot`, in the main thread; use it in one event loop."""

    def __init__(
        self,
        groups: str,
        pid: int,
        channel: socket.socket,
        ready: Ready,
        listener: socket.socket | None,
        *,
        on_exit: OnExit,
        on_lost: Callable[[], None],
        resolver: dns.Resolver | None,
    ) -> None:
        self.groups, self.pid, self.channel = groups, pid, channel
        self.on_exit, self.on_lost = on_exit, on_lost
        self.egress, self.lacks = ready.egress, ready.lacks
        self.listener = listener
        self.resolver = resolver
        self.pidfd = os.pidfd_open(pid)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.relay: relay.Relay | None = None
        self.number = 0
        self.links = 0
        self.waiting: dict[int, asyncio.Future[tuple[Done, dict[str, int]]]] = {}
        self.bridges: dict[str, _Bridge] = {}
        self.attached: dict[str, _Attached] = {}
        self.by_address: dict[str, str] = {}
        self.last_link: dict[tuple[str, str], str] = {}
        self.running: dict[str, _Running] = {}
        self.names = dns.Names()
        self.upstream = dns.Upstream()
        self.border: socket.socket | None = None
        self.border_falls = 0
        self.raising: asyncio.Task[None] | None = None
        self.published: dict[str, list[PortSpec]] = {}
        self.starting: dict[int, str] = {}  # request -> instance or token
        self.cancelling: set[asyncio.Task[None]] = set()
        self.early: dict[str, int | None] = {}  # those init has started and nobody knows of yet; how they ended
        self.dead: asyncio.Future[None] | None = None
        self.closing = False

    @classmethod
    def boot(
        cls,
        name: str,
        run_dir: Path,
        *,
        on_exit: OnExit,
        on_lost: Callable[[], None],
        resolver: dns.Resolver | None = None,
    ) -> "StackSandbox":
        """Start stack init. In the main thread: the kernel kills init when the thread that cloned it ends. Raises
        Refused."""
        single = os.geteuid() != 0
        nofile = resource.getrlimit(resource.RLIMIT_NOFILE)
        mount_point = str(run_dir / "root")
        os.makedirs(run_dir, mode=0o700, exist_ok=True)
        ours, theirs = wire.pair()
        flags = kernel.CLONE_NEWPID | kernel.CLONE_NEWNS | (kernel.CLONE_NEWUSER if single else 0)
        groups = f"{name}-{binascii.crc32(os.fsencode(run_dir)):08x}"  # another user's, or folder's, may have its name
        limits.sweep(groups)
        gc.freeze()  # before the copy, so that neither process's collector makes shared pages its own
        try:
            pid = kernel.clone(flags)
        except OSError as error:
            raise Refused("new namespaces", _why_no_namespaces(error)) from error
        if pid == 0:
            ours.close()
            init.main(theirs, mount_point, nofile, single=single)
        theirs.close()
        try:
            if single:
                kernel.map_ids(pid, (0, 0), (os.geteuid(), os.getegid()))
            wire.send(ours, b"mapped")
            ours.settimeout(_BOOT)
            try:
                packet = wire.receive(ours)
            except TimeoutError as error:
                raise Refused("stack init", f"it was not ready after {_BOOT} s") from error
            if packet is None:
                raise Refused("stack init", "it ended before it was ready")
            reply = _replies.decode(packet[0])
            if not isinstance(reply, Ready):
                raise Refused(getattr(reply, "step", "stack init"), getattr(reply, "why", "it failed"))
        except (Refused, OSError) as error:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            ours.close()
            if isinstance(error, OSError):
                raise Refused("uid map", error.strerror or str(error)) from error
            raise
        listener = socket.socket(fileno=packet[1][0]) if packet[1] else None
        ours.setblocking(False)
        relay.raise_open_files()
        return cls(groups, pid, ours, reply, listener, on_exit=on_exit, on_lost=on_lost, resolver=resolver)

    # the loop

    def _attach(self) -> asyncio.AbstractEventLoop:
        """Join the running loop at the first use: `boot` comes before there is one."""
        if self.loop is None:
            self.loop = loop = asyncio.get_running_loop()
            self.dead = loop.create_future()
            loop.add_reader(self.channel.fileno(), self._readable)
            loop.add_reader(self.pidfd, self._gone)
            self.relay = relay.Relay(loop)
            if self.listener is not None:
                self.relay.accept(self.listener, self._target)
        return self.loop

    async def _ask(self, request: Request, fds: Sequence[int] = ()) -> tuple[Done, dict[str, int]]:
        loop = self._attach()
        if self.closing or (self.dead is not None and self.dead.done()):
            raise Refused("stack init", "it is gone")
        answer: asyncio.Future[tuple[Done, dict[str, int]]] = loop.create_future()
        self.waiting[request.number] = answer
        try:
            await self._send(self.channel, msgspec.json.encode(request), fds)
        except OSError as error:
            self.waiting.pop(request.number, None)
            raise Refused("stack init", error.strerror or "it is gone") from error
        try:
            done, got = await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(_undo)
            raise
        if done.step:
            raise Refused(done.step, done.why, missing=done.missing)
        return done, got

    async def _send(self, channel: socket.socket, body: bytes, fds: Sequence[int]) -> None:
        while True:
            try:
                wire.send(channel, body, fds)
                return
            except BlockingIOError:
                await asyncio.sleep(0.001)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                await asyncio.sleep(0.001)

    def _number(self) -> int:
        self.number += 1
        return self.number

    def _readable(self) -> None:
        for _ in range(256):
            try:
                packet = wire.receive(self.channel)
            except BlockingIOError:
                return
            if packet is None:
                assert self.loop is not None
                self.loop.remove_reader(self.channel.fileno())
                return
            body, fds = packet
            match _replies.decode(body):
                case Done() as done:
                    answer = self.waiting.pop(done.number, None)
                    if answer is not None and not answer.done():
                        if not done.step and (name := self.starting.get(done.number)):
                            self.early[name] = None
                        answer.set_result((done, dict(zip(done.fds, fds, strict=True))))
                    else:
                        for fd in fds:
                            os.close(fd)
                case Exited(id=name, status=status):
                    if name in self.early:
                        self.early[name] = status
                    else:
                        self._exited(name, status)

    async def _start(self, name: str, request: Spawn | Enter, fds: Sequence[int]) -> tuple[Done, dict[str, int]]:
        """Ask for a process; its exit is held back from the answer on, until `_started`."""
        self.starting[request.number] = name
        try:
            return await self._ask(request, fds)
        except BaseException:
            self._started(name)
            raise
        finally:
            del self.starting[request.number]

    def _started(self, name: str) -> None:
        """Who awaits the start goes on before the loop's next turn: an exit that was faster is told in that turn."""
        assert self.loop is not None
        if (status := self.early.pop(name, None)) is not None:
            self.loop.call_soon(self._exited, name, status)

    def _exited(self, name: str, status: int) -> None:
        known = self.running.pop(name, None)
        if known is None:  # its spawn was cancelled, or stack init is gone
            return
        os.close(known.pidfd)
        if name in self.attached:
            self._detach(name)
        self.on_exit(name, status)

    def _gone(self) -> None:
        """Stack init is dead, and with it all it had: the kernel reaps a PID namespace before its pid 1."""
        assert self.loop is not None and self.dead is not None
        self.loop.remove_reader(self.pidfd)
        self._readable()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_result((Done(number=0, step="stack init", why="it is gone"), {}))
        self.waiting.clear()
        self._release()
        if not self.dead.done():
            self.dead.set_result(None)
        if not self.closing:
            self.on_lost()

    def _release(self) -> None:
        assert self.loop is not None and self.relay is not None
        self.loop.remove_reader(self.channel.fileno())
        self.channel.close()
        for name in list(self.attached):
            self._detach(name)
        for known in self.running.values():
            os.close(known.pidfd)
        self.running.clear()
        if self.listener is not None:
            self.relay.stop(self.listener)
            self.listener = None
        if self.raising is not None:
            self.raising.cancel()
        self._drop_border()
        for dial in list(self.relay.dials):
            dial.cancel()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    # networks

    async def add_network(self, spec: NetworkSpec) -> str:
        if spec.name in self.bridges:
            return str(self.bridges[spec.name].subnet.network)
        ours = [bridge.subnet.network for bridge in self.bridges.values()]
        taken = [*ours, *addresses.host_routes(), *addresses.host_nameservers()]
        network = addresses.choose(spec, taken)
        if spec.subnet and any(network.overlaps(other) for other in ours):
            raise Refused(f"network {spec.name}", f"its subnet {network} overlaps with another network of this stack")
        subnet = Subnet(spec, network)
        self.links += 1
        bridge = _Bridge(subnet, _FIRST_BRIDGE + self.links, internal=spec.internal, mtu=spec.mtu)
        self.bridges[spec.name] = bridge
        try:
            await self._ask(
                AddBridge(
                    number=self._number(),
                    name=bridge.name,
                    index=bridge.index,
                    mac=addresses.mac_of(subnet.gateway),
                    mtu=spec.mtu,
                    gateway=str(subnet.gateway),
                    prefix=network.prefixlen,
                    network=str(network.network_address),
                    mask=str(network.netmask),
                    out=not spec.internal,
                )
            )
        except Refused:
            del self.bridges[spec.name]
            raise
        return str(network)

    async def remove_network(self, name: str) -> None:
        bridge = self.bridges.pop(name, None)
        if bridge is not None:
            await self._ask(DeleteLink(number=self._number(), name=bridge.name))

    def _take(self, id: str, net: Net) -> _Attached:
        """Addresses and links for an instance; released by `_detach`."""
        held = self.attached[id] = _Attached()
        held.host_gateway = any(address == "host-gateway" for _, address in net.extra_hosts)
        if net.mode != "bridge":
            return held
        for at, attachment in enumerate(net.attachments):
            bridge = self.bridges.get(attachment.network)
            if bridge is None:
                raise Refused(f"network {attachment.network}", "there is no such network in this stack")
            address = bridge.subnet.take(attachment.ipv4)
            held.addresses[attachment.network] = address
            self.by_address[str(address)] = id
            self.links += 1
            name = f"veth{self.links}"
            way_out = not bridge.internal and not held.gateway
            held.links.append(
                Link(
                    name=name,
                    index=_FIRST_VETH + self.links,
                    bridge=bridge.index,
                    mtu=bridge.mtu,
                    peer=f"eth{at}",
                    peer_index=_FIRST_PEER + at,
                    mac=attachment.mac or addresses.mac_of(address),
                    address=str(address),
                    prefix=bridge.subnet.network.prefixlen,
                    gateway=str(bridge.subnet.gateway) if way_out else "",
                    stale=self.last_link.pop((attachment.network, str(address)), ""),
                )
            )
            self.last_link[attachment.network, str(address)] = name
        return held

    async def _open_gateways(self, held: _Attached) -> None:
        for name in held.addresses:
            bridge = self.bridges[name]
            if not bridge.open:
                gateway = str(bridge.subnet.gateway)
                await self._ask(OpenGateway(number=self._number(), bridge=bridge.name, gateway=gateway))
                bridge.open = True

    def _detach(self, id: str) -> None:
        held = self.attached.pop(id)
        self.names.remove(id)
        if held.server is not None:
            held.server.close()
        held.group.close()
        self._remove_group(held.group)
        for network, address in held.addresses.items():
            self.by_address.pop(str(address), None)
            if network in self.bridges:
                self.bridges[network].subnet.release(address)

    def _remove_group(self, group: limits.Group, tries: int = 20) -> None:
        if not group.remove() and tries and self.loop is not None and not self.loop.is_closed():
            self.loop.call_later(0.05, self._remove_group, group, tries - 1)

    # processes

    async def spawn(self, id: str, root: Root, process: Process, net: Net, stdio: tuple[int, int, int]) -> Spawned:
        self._attach()
        if id in self.attached:
            raise Refused(f"start {id}", "it is running already")
        try:
            held = self._take(id, net)
            if held.host_gateway:
                await self._open_gateways(held)
            held.group = limits.make(self.groups, id, process)
            hostname = net.hostname or (os.uname().nodename if net.mode == "host" else _as_hostname(id))
            with_dns = net.mode == "bridge" and bool(net.attachments)
            mode = {"bridge": "new", "none": "new"}.get(net.mode, net.mode)
            shown = net if with_dns or net.mode in ("host", "none") else msgspec.structs.replace(net, mode="none")
            if net.mode.startswith("instance:"):
                shown = msgspec.structs.replace(net, mode="instance")
            own = [str(address) for address in held.addresses.values()]
            given = {mount.target for mount in root.mounts}
            made = [file for file in etc.files(shown, own, held.gateway, hostname) if file.target not in given]
            done, fds = await self._start(
                id,
                Spawn(
                    number=self._number(),
                    id=id,
                    root=root,
                    process=process,
                    net=mode,
                    links=tuple(held.links),
                    hostname=hostname,
                    domainname=net.domainname,
                    files=tuple(made),
                    dns=with_dns,
                ),
                [*_stdio(stdio), *held.group.entries],
            )
        except BaseException:
            if id in self.attached:
                self._detach(id)
            raise
        if id not in self.attached:  # stack init went between the answer and here
            self._started(id)
            raise Refused("stack init", "it is gone")
        if "udp" in fds:
            self._serve_names(id, net, held, fds)
        running = self._remember(id, fds)
        found = {network: str(address) for network, address in held.addresses.items()}
        self.names.add(id, net.attachments if held.addresses else (), found)
        return Spawned(pid=running.pid, addresses=found, tty=fds.get("tty", -1), notes=(*held.group.notes, *done.notes))

    def _serve_names(self, id: str, net: Net, held: _Attached, fds: dict[str, int]) -> None:
        udp, tcp = socket.socket(fileno=fds["udp"]), socket.socket(fileno=fds["tcp"])
        networks = [attachment.network for attachment in net.attachments]
        upstream: dns.Upstream | dns.Resolver | None = None
        if held.gateway:
            upstream = dns.Upstream(net.dns) if net.dns else self.resolver or self.upstream
        held.server = dns.Server(self.names, networks, udp, tcp, upstream)

    async def enter(self, id: str, process: Process, stdio: tuple[int, int, int], token: str) -> Spawned:
        if token in self.running:
            raise Refused(f"enter {id}", f"the token {token} is in use")
        groups = self.attached[id].group.entries if id in self.attached else ()
        done, fds = await self._start(
            token, Enter(number=self._number(), id=id, token=token, process=process), [*_stdio(stdio), *groups]
        )
        running = self._remember(token, fds)
        return Spawned(pid=running.pid, tty=fds.get("tty", -1), notes=done.notes)

    def _remember(self, name: str, fds: dict[str, int]) -> _Running:
        running = self.running[name] = _Running(fds["pidfd"], _pid_of(fds["pidfd"]))
        self._started(name)
        return running

    def signal(self, id: str, signum: int) -> bool:
        """False when there is no such process yet, or any more. SIGKILL ends one that is being started, too."""
        running = self.running.get(id)
        if running is None:
            if signum == signal.SIGKILL and id in self.starting.values() and self.loop is not None:
                request = Cancel(number=self._number(), id=id)
                task = self.loop.create_task(self._send(self.channel, msgspec.json.encode(request), ()))
                self.cancelling.add(task)
                task.add_done_callback(self._cancelled)
            return False
        try:
            signal.pidfd_send_signal(running.pidfd, signum)
        except ProcessLookupError:
            return False
        return True

    def _cancelled(self, task: "asyncio.Task[None]") -> None:
        self.cancelling.discard(task)
        if not task.cancelled():
            task.exception()  # stack init is gone, and so is the start

    # the border

    async def publish(self, id: str, port: PortSpec) -> PortSpec:
        self._attach()
        held = self.attached.get(id)
        if held is None or not held.addresses:
            raise Refused(f"publish {port.host_port}", f"{id} has no address")
        # Connections come from the bridge's own address: the first network that has a way out, as Docker chooses.
        ordered = sorted(held.addresses, key=lambda network: self.bridges[network].internal)
        address = str(held.addresses[ordered[0]])
        sockets, number = ports.listen(port)
        try:
            channel = await self._border()
            taken = msgspec.structs.replace(port, host_port=number)
            request: BorderRequest = Publish(id=id, address=address, port=taken)
            await self._send(channel, msgspec.json.encode(request), [one.fileno() for one in sockets])
        except OSError as error:
            raise Refused(f"publish {number}", error.strerror or str(error)) from error
        finally:
            for one in sockets:
                one.close()
        self.published.setdefault(id, []).append(taken)
        return taken

    async def _border(self) -> socket.socket:
        if self.border is None:
            ours, theirs = wire.pair()
            ours.setblocking(False)
            self.border = ours  # before the wait: the next one asks the same border
            try:
                await self._ask(StartBorder(number=self._number()), [theirs.fileno()])
            except BaseException:
                if self.border is ours:
                    self._drop_border()
                raise
            finally:
                theirs.close()
            if self.loop is not None and self.border is ours:
                self.loop.add_reader(ours.fileno(), self._border_gone)  # it never says anything: this is its end
            return ours
        return self.border

    def _drop_border(self) -> None:
        if self.border is not None:
            if self.loop is not None:
                self.loop.remove_reader(self.border.fileno())
            self.border.close()
            self.border = None

    def _border_gone(self) -> None:
        """Somebody killed it, or the kernel did for want of memory: another one takes the published ports up."""
        assert self.loop is not None
        self._drop_border()
        lost, self.published = self.published, {}
        if not self.closing and lost:
            self.raising = self.loop.create_task(self._raise_border(lost))

    async def _raise_border(self, lost: dict[str, list[PortSpec]]) -> None:
        await asyncio.sleep(min(0.05 * 2**self.border_falls, 10))
        self.border_falls += 1
        for id, published in lost.items():
            for port in published:
                with suppress(Refused):  # its instance has ended meanwhile, or has published it again itself
                    await self.publish(id, port)

    async def unpublish(self, id: str) -> None:
        if self.published.pop(id, None) and self.border is not None:
            with suppress(OSError):
                await self._send(self.border, msgspec.json.encode(Unpublish(id=id)), ())

    def _target(self, client: socket.socket) -> tuple[str, int] | None:
        """Where a connection that leaves the stack goes. Never to the host's loopback, never to what is the stack's
        own: both would be another machine's view of this host."""
        wanted = relay.original_destination(client)
        if wanted is None:
            return None
        try:
            source = client.getpeername()[0]
        except OSError:
            return None
        held = self.attached.get(self.by_address.get(source, ""))
        if held is None:
            return None
        address, port = IPv4Address(wanted[0]), wanted[1]
        if str(address) == held.gateway:
            return ("127.0.0.1", port) if held.host_gateway else None
        if address.is_loopback or address.is_multicast or address in _THIS_NETWORK or address.is_unspecified:
            return None
        if any(address in bridge.subnet.network for bridge in self.bridges.values()):
            return None
        return str(address), port

    # the end

    async def close(self) -> None:
        self._attach()
        assert self.dead is not None
        self.closing = True
        if not self.dead.done():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            await asyncio.shield(self.dead)
            limits.sweep(self.groups)

    def kill(self) -> None:
        """The same without a loop: for a caller that ends before it had one."""
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(OSError):
            os.waitpid(self.pid, 0)


def _undo(answer: "asyncio.Future[tuple[Done, dict[str, int]]]") -> None:
    """Nobody waits any more for what has been started: end it."""
    for name, fd in answer.result()[1].items():
        if name == "pidfd":
            with suppress(OSError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)


_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # Linux takes 0.0.0.0 for the loopback


def _pid_of(pidfd: int) -> int:
    """The pid in the namespace of this process's /proc: pidfd_open(2), "fdinfo"."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pid:"))


def _stdio(stdio: Sequence[int]) -> list[int]:
    """Descriptors to send; -1 becomes /dev/null, opened once and kept."""
    return [_null() if fd < 0 else fd for fd in stdio]


_opened: list[int] = []


def _null() -> int:
    if not _opened:
        _opened.append(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
    return _opened[0]


def _as_hostname(id: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", id)[:63].strip("-") or "cais"


def _why_no_namespaces(error: OSError) -> str:
    why = error.strerror or str(error)
    if error.errno == errno.EPERM:
        return f"{why}: this kernel or container lets this user make none; `cais doctor` says how to allow it"
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        return f"{why}: raise user.max_user_namespaces (sysctl -w user.max_user_namespaces=15000)"
    return why
