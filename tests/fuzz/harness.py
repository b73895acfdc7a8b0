"""What every hostile input is held to: how it ends, what it touches, how much memory and time.

An input is read in a jail: a folder with files that nobody may touch, one folder to write to, and
watches over the whole process (Python's audit events) that notice a file written elsewhere, a
program started, a connection to another machine, or a pickle that names code.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import io
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from tests.fuzz.bounds import Bounds

from lensbench import cli
from lensbench.errors import LensbenchError

_MIB = 2**20
#: Characters of the sentence that a user gets to read.
LONGEST_SENTENCE = 1500
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Audit events that name what is changed: → (places of paths, place of the folder's descriptor).
_CHANGES = {
    "os.remove": ((0,), 1),
    "os.rmdir": ((0,), 1),
    "os.mkdir": ((0,), 2),
    "os.rename": ((0, 1), None),
    "os.symlink": ((1,), 2),
    "os.link": ((1,), None),
    "os.chmod": ((0,), 2),
    "os.chown": ((0,), 3),
    "os.utime": ((0,), 3),
    "os.truncate": ((0,), None),
    "shutil.rmtree": ((0,), 1),
}
_FORBIDDEN = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "pickle.find_class",
    "webbrowser.open",
    "ftplib.connect",
    "smtplib.connect",
}


#: Where native code that never ends is told of: pytest captures what is printed, and is gone then.
_STUCK = open(os.path.join(tempfile.gettempdir(), f"lensbench-fuzz-stuck-{os.getpid()}"), "w+")  # noqa: SIM115
atexit.register(lambda: os.path.exists(_STUCK.name) and os.unlink(_STUCK.name))


class BrokenPromise(AssertionError):  # noqa: N818 (it says which promise)
    """An input made the code do what no input may; the message says what."""


class _TooSlow(BaseException):
    """Time is over. No `except Exception` may swallow it."""


@dataclass
class _Watch:
    """What the process is watched for while an input is read."""

    on: bool = False
    allowed: tuple[str, ...] = ()
    seen: list[str] = field(default_factory=list)


_WATCH = _Watch()


def _path_of(path: Any, folder: Any = None) -> str | None:
    """Return the absolute path that an audit event names; None of what is no path."""
    if isinstance(path, int):
        return None
    text = os.fsdecode(path)
    if not os.path.isabs(text):
        base = os.getcwd()
        if isinstance(folder, int) and folder >= 0:
            base = os.readlink(f"/proc/self/fd/{folder}")
        text = os.path.join(base, text)
    return os.path.normpath(text)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _WATCH.on:
        return
    if event in _FORBIDDEN:
        _WATCH.seen.append(f"{event} {str(arguments)[:200]}")
    elif event == "socket.connect":
        address = arguments[1]
        if not (isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1", "localhost")):
            _WATCH.seen.append(f"{event} {address}")
    elif event == "open":
        path, mode, flags = arguments
        written = isinstance(flags, int) and flags & _WRITES
        if written or (isinstance(mode, str) and set(mode) & set("wax+")):
            _note(event, _path_of(path))
    elif event in _CHANGES:
        places, descriptor = _CHANGES[event]
        folder = None if descriptor is None else arguments[descriptor]
        for place in places:
            _note(event, _path_of(arguments[place], folder))


def _note(event: str, path: str | None) -> None:
    if path is None or path == os.devnull:
        return
    if not any(path == top or path.startswith(top + os.sep) for top in _WATCH.allowed):
        _WATCH.seen.append(f"{event} {path}")


sys.addaudithook(_audit)


class _Logged(logging.Handler):
    """Notices a traceback that a library logs: it would stand on a user's screen."""

    def emit(self, record: logging.LogRecord) -> None:
        if _WATCH.on and record.exc_info and record.levelno >= logging.WARNING:
            _WATCH.seen.append(f"a traceback logged by {record.name}: {record.getMessage()[:200]}")


logging.getLogger().addHandler(_Logged())


@dataclass
class Tally:
    """What became of the inputs of one parser."""

    name: str
    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    peak_mib: float = 0.0
    slowest_s: float = 0.0

    def line(self) -> str:
        """Return it as one line of the table at the end of a run."""
        return (
            f"{self.name:<28}{self.inputs:>8}{self.outcomes['read']:>8}"
            f"{self.outcomes['refused']:>9}{self.peak_mib:>10.0f}{self.slowest_s:>10.2f}"
        )


TALLY_HEAD = (
    f"{'parser':<28}{'inputs':>8}{'read':>8}{'refused':>9}{'peak MiB':>10}{'longest s':>10}"
)


class Jail:
    """Where an input is read: files that nobody may touch around one folder to write to.

    Args:
        root: an empty folder.
        bounds: what an input may cost.
        kept: which names may be left in `out` after a refusal (what a download keeps, say).
    """

    def __init__(
        self, root: Path, bounds: Bounds, kept: Callable[[str], bool] = lambda name: False
    ) -> None:
        self.root, self.bounds, self._kept = root, bounds, kept
        self.given, self.out, self.work = root / "given", root / "out", root / "work"
        self.peak_mib, self.last_s = 0.0, 0.0
        self._gave: set[Path] = set()
        self._removable: set[Path] = set()
        for folder in (self.given, self.out, self.work, root / "victim" / "deep", root / ".hidden"):
            folder.mkdir(parents=True)
        for name in ("victim/keep.txt", "victim/deep/x", ".hidden/keep", "passwd", "work/keep.txt"):
            (root / name).write_text(f"{name} must stay\n", encoding="utf-8")
        (root / "link").symlink_to("victim")
        os.chdir(self.work)
        self._before = self._snapshot()
        self._base_mib, self._warm = 0.0, False

    def give(self, name: str, content: bytes | str) -> Path:
        """Write an input's file, in the midst of `hold` or before it, and return its path."""
        was, _WATCH.on = _WATCH.on, False
        path = self.given / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        )
        self._gave.add(path)
        _WATCH.on = was
        return path

    def allow(self, folder: Path) -> None:
        """Let the test itself write to one more folder from here on: what a server serves, say."""
        _WATCH.allowed = (*_WATCH.allowed, str(folder))

    def may_remove(self, path: Path) -> None:
        """Let a given file be removed, as a note is that no longer vouches for what it names."""
        self._removable.add(path)
        _WATCH.allowed = (*_WATCH.allowed, str(path))

    def hold(self, read: Callable[[], object]) -> str:
        """Read one input and hold it to every promise.

        Args:
            read: reads it; what it may write goes to `out`.

        Returns:
            "read" or "refused".

        Raises:
            BrokenPromise: naming the promise.
        """
        if not self._warm:
            with contextlib.suppress(LensbenchError):
                read()  # What it imports and keeps is no input's fault.
            self._warm, self._before = True, self._snapshot()
        self._empty()
        outcome, error = self._run(read)
        if _WATCH.seen:
            raise BrokenPromise("touched what it must not: " + "; ".join(_WATCH.seen[:5]))
        given = {path for path in self.given.rglob("*") if not path.is_dir()}
        given -= self._removable
        if self._snapshot() != self._before or given != self._gave - self._removable:
            raise BrokenPromise("a file outside the target was made, changed or removed")
        if error is not None:
            self._check_sentence(str(error))
            left = [n for n in self._listed(self.out) if not self._kept(n)]
            if left:
                raise BrokenPromise(f"refused, but left {left[:5]} behind") from error
        used = self.peak_mib - self._base_mib
        if used > self.bounds.memory_mib:
            raise BrokenPromise(f"took {used:.0f} MiB, more than {self.bounds.memory_mib}")
        return outcome

    @property
    def used_mib(self) -> float:
        """Peak of the last input above what the process had, MiB."""
        return self.peak_mib - self._base_mib

    def _run(self, read: Callable[[], object]) -> tuple[str, LensbenchError | None]:
        _WATCH.seen.clear()
        _WATCH.allowed = (str(self.out), os.path.realpath(self.out))
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Resets VmHWM.
        # Anew each time: a process that draws thousands of inputs grows by that alone. What Arrow
        # keeps of the last one is given back, or the next would seem to take less.
        pa.default_memory_pool().release_unused()
        self._base_mib = _resident("VmRSS")
        begun = _cpu()
        try:
            with _limited(self.bounds):
                _WATCH.on = True
                read()
        except LensbenchError as error:
            return "refused", error
        except _TooSlow as error:
            raise BrokenPromise(f"took more than {self.bounds.seconds:g} s") from error
        except BrokenPromise:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            name = type(error).__name__
            raise BrokenPromise(f"a {name} would reach the user: {error}") from error
        finally:
            _WATCH.on = False
            self.peak_mib, self.last_s = _resident("VmHWM"), _cpu() - begun
        return "read", None

    @staticmethod
    def _check_sentence(sentence: str) -> None:
        if not sentence.strip() or len(sentence) > LONGEST_SENTENCE:
            raise BrokenPromise(f"the sentence has {len(sentence)} characters: {sentence[:200]!r}")
        if len(sentence.splitlines()) != 1 or not sentence.isprintable():
            raise BrokenPromise(f"the sentence is not one plain line: {sentence!r}")

    def _snapshot(self) -> dict[str, tuple[int, ...]]:
        """Return what stands outside `out` and `given`, with what changes when it is touched."""
        found = {}
        for parent, folders, files in os.walk(self.root):
            if Path(parent) == self.root:
                folders[:] = [name for name in folders if name not in ("out", "given")]
            for name in (*folders, *files):
                about = os.lstat(os.path.join(parent, name))
                found[os.path.join(parent, name)] = (
                    about.st_mode, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
                )  # fmt: skip
        return found

    @staticmethod
    def _listed(folder: Path) -> list[str]:
        return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))

    def _empty(self) -> None:
        self._gave.clear()
        self._removable.clear()
        for path in [*self.out.iterdir(), *self.given.iterdir()]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextlib.contextmanager
def _limited(bounds: Bounds) -> Iterator[None]:
    """Limit what the block may take: its time, and (far above the bound) its address space."""

    def over(*_: object) -> None:
        raise _TooSlow

    old = {number: signal.signal(number, over) for number in (signal.SIGALRM, signal.SIGPROF)}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    space = int(_resident("VmSize") + 4 * bounds.memory_mib + 2048) * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (space, hard))
    signal.setitimer(signal.ITIMER_PROF, bounds.seconds)
    signal.setitimer(signal.ITIMER_REAL, 3 * bounds.seconds)
    # Native code hears no signal: then the whole process ends, and says where it was.
    faulthandler.dump_traceback_later(6 * bounds.seconds + 120, exit=True, file=_STUCK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for number, handler in old.items():
            signal.signal(number, handler)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident(key: str) -> float:
    """Return a line of /proc/self/status in MiB."""
    with open("/proc/self/status", encoding="ascii") as stream:
        for line in stream:
            if line.startswith(key):
                return int(line.split()[1]) / 1024
    raise OSError(f"this system tells no {key}")


def command(*arguments: str) -> None:
    """Run the command line here; what it says of bad input is raised again as LensbenchError.

    Raises:
        BrokenPromise: if it ends in any other way than with status 0, or 1 and one sentence.
        LensbenchError: with the sentence, if it is refused.
    """
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["lensbench", *arguments]
    status: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        sys.argv = before
    said = err.getvalue()
    if "Traceback" in said:
        raise BrokenPromise(f"a traceback was printed: {said[-500:]}")
    if status == 0:
        return
    # Bars and notes may stand above it; the sentence is the last line.
    sentences = [line for line in said.split("\n") if line.startswith("lensbench: ")]
    if status != 1 or len(sentences) != 1 or not said.endswith(sentences[0] + "\n"):
        raise BrokenPromise(f"ended with status {status} and said {said[-500:]!r}")
    raise LensbenchError(sentences[0].removeprefix("lensbench: "))
