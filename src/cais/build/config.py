"""What an image carries besides files: ENV, CMD, USER and the rest, as a stage goes through its instructions."""

from collections.abc import Mapping

from cais.build.expand import BadExpansion, expand, expand_words
from cais.diag.api import ERROR, Diagnostic, Faults
from cais.model.image import Healthcheck, ImageConfig
from cais.source.api import Span
from cais.source.formats.dockerfile import Instruction

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # moby system.DefaultPathEnv
METADATA = frozenset(
    [
        "ARG",
        "CMD",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
        "MAINTAINER",
        "ONBUILD",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
    ]
)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def fault(code: str, message: str, span: Span | None, hint: str = "") -> Faults:
    return Faults([Diagnostic(ERROR, code, message, span, hint)])


class Scope:
    """A stage's configuration so far, and the variables its next instruction sees."""

    def __init__(
        self, base: ImageConfig, *, given: Mapping[str, str], global_args: Mapping[str, str], escape: str
    ) -> None:
        self.config = base
        self.env = dict(base.env)
        self.env.setdefault("PATH", DEFAULT_PATH)
        self.args: dict[str, str] = {}
        self.given = given  # --build-arg
        self.global_args = global_args
        self.escape = escape
        self.cmd_set = False
        self.unset: set[str] = set()

    def variables(self) -> dict[str, str]:
        """ENV wins over ARG of the same name (Dockerfile reference, "Using ARG variables")."""
        return {**self.args, **self.env}

    def expand(self, text: str, span: Span | None) -> str:
        try:
            return expand(text, self.variables(), self.escape, self.unset)
        except BadExpansion as err:
            raise fault("dockerfile-variable", str(err), span) from err

    def path(self, text: str) -> str:
        """A path of the image, relative to WORKDIR; a trailing slash stays."""
        import posixpath

        joined = posixpath.join("/", self.config.working_dir or "/", text)
        clean = posixpath.normpath(joined)
        clean = "/" + clean.lstrip("/")
        return clean + "/" if (text.endswith(("/", "/.")) or text in {".", ""}) and clean != "/" else clean

    def finished(self) -> ImageConfig:
        return self.config._replace(env=tuple(self.env.items()))

    def apply(self, instruction: Instruction) -> None:
        """Carry out an instruction that makes no layer."""
        getattr(self, f"_{instruction.name.lower()}")(instruction)

    def _arg(self, instruction: Instruction) -> None:
        for pair in instruction.pairs:
            name = pair.name.text
            default = None if pair.value is None else self.expand(pair.value.text, pair.value.span)
            value = self.given.get(name, default)
            if value is None:
                value = self.global_args.get(name)
            if value is not None:
                self.args[name] = value

    def _env(self, instruction: Instruction) -> None:
        made = {
            self.expand(pair.name.text, pair.name.span): self.expand(pair.value.text, pair.value.span)
            for pair in instruction.pairs
            if pair.value is not None
        }  # all of one line see the values before it
        self.env.update(made)

    def _label(self, instruction: Instruction) -> None:
        labels = dict(self.config.labels)
        for pair in instruction.pairs:
            if pair.value is not None:
                labels[self.expand(pair.name.text, pair.name.span)] = self.expand(pair.value.text, pair.value.span)
        self.config = self.config._replace(labels=tuple(labels.items()))

    def _maintainer(self, instruction: Instruction) -> None:
        """Only says who wrote it; nothing that runs sees it."""

    def command(self, instruction: Instruction) -> tuple[str, ...]:
        words = tuple(word.text for word in instruction.words)
        return words if instruction.json else (*self.config.shell, *words)

    def _cmd(self, instruction: Instruction) -> None:
        self.config = self.config._replace(cmd=self.command(instruction))
        self.cmd_set = True

    def _entrypoint(self, instruction: Instruction) -> None:
        """A CMD of the base goes with its ENTRYPOINT (reference, "Understand how CMD and ENTRYPOINT interact")."""
        self.config = self.config._replace(entrypoint=self.command(instruction))
        if not self.cmd_set:
            self.config = self.config._replace(cmd=())

    def _shell(self, instruction: Instruction) -> None:
        self.config = self.config._replace(shell=tuple(word.text for word in instruction.words))

    def _user(self, instruction: Instruction) -> None:
        user = self.expand(instruction.words[0].text, instruction.words[0].span)
        if not user:
            raise fault("dockerfile-user", "USER is empty after its variables are filled in", instruction.span)
        self.config = self.config._replace(user=user)

    def workdir(self, instruction: Instruction) -> str:
        path = self.path(self.expand(instruction.words[0].text, instruction.words[0].span).strip()).rstrip("/") or "/"
        self.config = self.config._replace(working_dir=path)
        return path

    def _stopsignal(self, instruction: Instruction) -> None:
        import signal

        word = instruction.words[0]
        name = self.expand(word.text, word.span).strip().upper()
        known = name.isdigit() and 0 < int(name) < 65
        known = known or hasattr(signal, name if name.startswith("SIG") else f"SIG{name}") or name.startswith("SIGRT")
        if not known:
            raise fault("dockerfile-stopsignal", f"there is no signal {name}", word.span)
        self.config = self.config._replace(stop_signal=name if name.isdigit() or name[:3] == "SIG" else f"SIG{name}")

    def _expose(self, instruction: Instruction) -> None:
        ports = dict.fromkeys(self.config.exposed_ports)
        for word in instruction.words:
            try:
                texts = expand_words(word.text, self.variables(), self.escape)
            except BadExpansion as err:
                raise fault("dockerfile-variable", str(err), word.span) from err
            for text in texts:
                ports.update(dict.fromkeys(_ports(text, word.span)))
        self.config = self.config._replace(exposed_ports=tuple(ports))

    def _volume(self, instruction: Instruction) -> None:
        volumes = dict.fromkeys(self.config.volumes)
        for word in instruction.words:
            path = self.expand(word.text, word.span).strip()
            if not path:
                raise fault("dockerfile-volume", "VOLUME is empty", word.span)
            volumes["/" + path.strip("/")] = None
        self.config = self.config._replace(volumes=tuple(volumes))

    def _onbuild(self, instruction: Instruction) -> None:
        assert instruction.inner is not None
        trigger = instruction.inner.source
        for heredoc in instruction.inner.heredocs:
            trigger += f"\n{heredoc.content}{heredoc.name}"
        self.config = self.config._replace(on_build=(*self.config.on_build, trigger))

    def _healthcheck(self, instruction: Instruction) -> None:
        kind, *rest = (word.text for word in instruction.words)
        if kind == "NONE":
            self.config = self.config._replace(healthcheck=Healthcheck(("NONE",)))
            return
        test = ("CMD", *rest) if instruction.json else ("CMD-SHELL", *rest)
        times: dict[str, float | None] = {}
        retries: int | None = None
        for flag in instruction.flags:
            value = self.expand(flag.value or "", flag.span)
            if flag.name == "retries":
                if not value.isdigit():
                    raise fault("dockerfile-healthcheck", f"--retries={value} is not a number", flag.span)
                retries = int(value) or None
                continue
            times[flag.name.replace("-", "_")] = duration(value, flag.span)
        self.config = self.config._replace(
            healthcheck=Healthcheck(
                test,
                times.get("interval"),
                times.get("timeout"),
                times.get("start_period"),
                times.get("start_interval"),
                retries,
            )
        )


def duration(text: str, span: Span | None) -> float | None:
    """Go's time.ParseDuration (`1m30s`); 0 is "the default", as in Docker."""
    import re

    if text == "0":
        return None
    parts = re.findall(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise fault("dockerfile-duration", f"{text!r} is not a duration", span, "write it like 30s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts) or None


def _ports(text: str, span: Span) -> list[str]:
    number, _, protocol = text.partition("/")
    protocol = (protocol or "tcp").lower()
    first, _, last = number.partition("-")
    good = first.isdigit() and (not last or last.isdigit()) and protocol in {"tcp", "udp", "sctp"}
    if not good or not 0 < int(first) <= int(last or first) < 65536:
        raise fault("dockerfile-expose", f"{text!r} is not a port", span, "write it like 8000, 53/udp or 7000-7010")
    return [f"{port}/{protocol}" for port in range(int(first), int(last or first) + 1)]
