"""Load an artefact in little memory. Stand-alone: NumPy and one runtime. Copy it to the board.

    from lean import open_model
    model = open_model("fcaformer_l1-fp32.tflite")
    logits = model(image)  # float32, in the shape and layout of the file; else a ValueError

What the runtime makes of the weights is made once for a machine, kept in a folder beside the
artefact, and mapped from there afterwards. The first load makes it, in a process of its own that
needs more memory; `python lean.py ARTEFACT` does that and nothing else. What is kept is checked by
its digests when it is used, and made once more where it is wrong; whatever fails about it, the
model is loaded plainly, with one warning. The agent measures with this very file.

Settings (NAME.runtime.json beside an artefact, or keywords): threads; cache: the folder, beside the
artefact unless the caller names an absolute one; arena_bytes: activations lie in one piece of about
this size (ONNX Runtime); spinning: threads wait awake; release: "model" gives back the clean pages
of files that loading brought in, "all" those of the runtime's libraries from before, too, "none"
nothing: what is needed is read again; cold: make the cache anew. FCA_EDGE_VERBOSE=1 shows what the
runtime says while it loads.
"""

import contextlib
import ctypes
import faulthandler
import json
import os
import platform
import re
import shutil
import signal
import stat
import sys
import tempfile
import time
import zlib

ARENA_BYTES = 16 << 20
# Numbers of Linux; elsewhere nothing is released.
DONT_NEED = 4
FEATURES = ("model name", "flags", "Features", "CPU part", "CPU implementer")
LEAST_EXTERNAL_BYTES = 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# By the highest byte of a page's entry: 1 where it is present, and the page of a file.
CLEAN = bytes(byte & 0xA0 == 0xA0 for byte in range(256))
ORDERS = ((0, 2, 3, 1), (0, 3, 1, 2))  # of axes: channels last, and first again
# Lines of LiteRT and ONNX Runtime that are no errors, and what continues them.
NOISE = re.compile(rb"(INFO|WARNING|VERBOSE)\b|\xe2\x94\x94|.*\[[IWV]:onnxruntime|\s*$")
# XNNPACK's flags as this version of LiteRT sets them (QS8, QU8, dynamic FULLY_CONNECTED), and one
# more: tables of a convolution's addresses are made in the arena, when it runs, instead of kept.
XNNPACK_FLAGS, FLAGS_OF = 0x01 | 0x02 | 0x08 | 0x20, "2.3."
# Beside what is kept: its digests. While it is made, the start of its folder's name.
DIGESTS, STAGED = "digests.json", ".packing-"
MOST_SECONDS, MOST_NOTE_BYTES, MIB = 1800, 1 << 16, 1 << 20
# What starts a process that packs, and what it ends with where it is not of this one's kind.
PACK, OTHER_KIND, PR_SET_PDEATHSIG = "--pack", 77, 1
# Of the file that may be started: one that ends otherwise holds more than this text.
THIS_FILE, ENDING = os.path.abspath(globals().get("__file__", "")), "sys.exit(main(sys.argv[1:]))\n"
VERIFIED = set()  # type: set[object]
SETTINGS = {
    "threads": ("a whole number from 1 to 1024", lambda x: type(x) is int and 0 < x <= 1024),
    "arena_bytes": ("4096 bytes to 4 GiB", lambda x: type(x) is int and 4096 <= x <= 1 << 32),
    "spinning": ("true or false", lambda x: type(x) is bool),
    "cold": ("true or false", lambda x: type(x) is bool),
    "release": ("none, model or all", lambda x: x in ("none", "model", "all")),
    "cache": ("a folder", lambda x: type(x) is str and x != "" and "\0" not in x),
}


def open_model(artefact, runtime=None, **settings):
    """Load a .onnx or .tflite file; the result is called with one input and gives the logits.

    Its `facts` say how it was loaded: `warm` from what was kept before, `plain` why it was not
    in little memory, if so. Settings that are not of their kind are a ValueError.
    """
    artefact = os.fspath(artefact)
    name = runtime or ("litert" if artefact.endswith(".tflite") else "onnxruntime")
    settings = {**stored(artefact), **check_settings(settings, "settings")}
    model = RUNTIMES[name]()
    model.load({"artefact": artefact, "threads": settings.get("threads", 1), "settings": settings})
    return model


def stored(artefact):
    """Read the settings beside an artefact; none where there are none."""
    path = artefact + ".runtime.json"
    try:
        with open(path, encoding="utf-8-sig") as file:
            settings = {**json.loads(file.read(MOST_NOTE_BYTES))["settings"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        text = f"{path}: holds no settings ({describe(error)}); export again or remove it"
        raise ValueError(text) from None
    settings = check_settings(settings, path)
    cache = settings.get("cache", "")
    if os.path.isabs(cache) or ".." in re.split(r"[/\\]", cache):
        hint = "only a program may name that: open_model(..., cache=...)"
        raise ValueError(f"{path}: cache {cache!r:.80} is not beside the artefact; {hint}")
    return settings


def check_settings(settings, where):
    """Return settings without those that are None; each must be of its kind."""
    settings = {key: value for key, value in settings.items() if value is not None}
    for key, value in settings.items():
        kind, is_kind = SETTINGS.get(key, ("left out: there is no such setting", lambda x: False))
        if not is_kind(value):
            raise ValueError(f"{where}: {key:.40} is {value!r:.40}; it must be {kind}")
    return settings


def check_input(array, shape):
    """Return an array that the runtime may read: float32, of this shape, in one piece.

    None stands for any size. Nothing is converted: LiteRT would take the bytes as they come.
    """
    import numpy

    kind, shape_in = getattr(array, "dtype", type(array).__name__), getattr(array, "shape", ())
    if kind == numpy.float32 and isinstance(array, numpy.ndarray) and fits(shape_in, shape):
        return numpy.ascontiguousarray(array)
    axes = " x ".join("any" if size is None else str(size) for size in shape)
    hint = "Resize, crop and normalise the picture as the file's preprocessing says."
    if fits([1, *shape_in], shape):
        hint = "Add the batch axis: array[None]."
    elif any(fits([shape_in[i] for i in order], shape) for order in ORDERS if len(shape_in) == 4):
        hint = "Its channels are on another axis: transpose it."
    elif fits(shape_in, shape):
        hint = "Normalise the picture, then use array.astype(numpy.float32)."
    received = " x ".join(map(str, shape_in)) or "no shape"
    text = "the model takes float32 {}, got {} {}. {}"
    raise ValueError(text.format(axes, kind, received, hint))


def fits(sizes, shape):
    """Tell whether an array's shape is the model's."""
    return len(sizes) == len(shape) and all(n in (None, m) for n, m in zip(shape, sizes))


def verbose():
    """Tell whether everything that libraries say is to be shown."""
    return os.environ.get("FCA_EDGE_VERBOSE", "0") not in ("", "0")


def leave_quietly():
    """Close standard error when the process ends, after Python, before libraries tidy up."""
    system = ctypes.CDLL(None)
    if not verbose() and hasattr(system, "__cxa_atexit"):
        system.__cxa_atexit(system.close, ctypes.c_void_p(2), None)


@contextlib.contextmanager
def quiet():
    """Hold back what libraries write to standard error; show it where something fails."""
    if verbose():
        yield
        return
    try:
        sys.stderr.flush()
        held_output, stderr_copy = tempfile.TemporaryFile(), os.dup(2)  # noqa: SIM115
    except (AttributeError, OSError):
        yield  # no standard error, or nowhere to hold anything
        return
    others, failed = faulthandler.is_enabled(), True
    os.dup2(held_output.fileno(), 2)
    faulthandler.enable(stderr_copy)  # what ends the whole process is said all the same
    try:
        yield
        failed = False
    finally:
        faulthandler.enable() if others else faulthandler.disable()
        os.dup2(stderr_copy, 2)
        held_output.seek(0)
        lines = held_output.read().splitlines(True)
        for line in lines if failed else [line for line in lines if not NOISE.match(line)]:
            os.write(stderr_copy, line)
        os.close(stderr_copy)
        held_output.close()


def warn(text):
    """Say something in one line."""
    if sys.stderr:  # print would take standard output instead
        with contextlib.suppress(OSError, ValueError):
            print("lean.py:", " ".join(text.split()), file=sys.stderr, flush=True)


def describe(error):
    """Say in one line what went wrong."""
    return "".join(str(error).strip().splitlines()[:1]) or type(error).__name__


def compute_checksum(path, apart=False):
    """Return a file's CRC-32: the quickest that Python has on any board.

    Read ahead, a file comes into the system's cache in pieces of up to 2 MiB; a process that then
    maps it and touches one number is charged with a whole piece. Read `apart` it does not.
    """
    checksum, buffer = 0, memoryview(bytearray(1 << 16))
    with open(path, "rb", buffering=0) as file:
        if apart and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for size in iter(lambda: file.readinto(buffer), 0):
            checksum = zlib.crc32(buffer[:size], checksum)
    return checksum


def find_fault(place):
    """Say what is wrong with what is kept in a folder; None for nothing, "" where it is not there.

    Names and sizes are compared each time, all bytes once per process and after any change.
    """
    if not os.path.lexists(place):
        return ""
    try:
        names = [] if os.path.islink(place) else sorted(os.listdir(place))
        files = {name: os.lstat(os.path.join(place, name)) for name in names}
        if not names or not all(stat.S_ISREG(file.st_mode) for file in files.values()):
            return "it is empty, a link, or holds one"
        state = os.path.basename(place), tuple(map(identify, files.values()))
        if state in VERIFIED:
            return None
        with open(os.path.join(place, DIGESTS), "rb") as file:
            note = json.loads(file.read(MOST_NOTE_BYTES).decode())
        if note["name"] != os.path.basename(place) or {DIGESTS, *note["files"]} != set(files):
            return "it is of another build, or not whole"
        for name, (size, checksum) in note["files"].items():
            if files[name].st_size != size:
                return f"{name} has {files[name].st_size} bytes of {size}"
            if compute_checksum(os.path.join(place, name)) != checksum:
                return f"{name} is damaged"
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return describe(error)
    VERIFIED.add(state)
    return None


def identify(status):
    """Return what of a file's status changes with its bytes."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def write_digests(place):
    """Write digests beside files that are whole; all of it is on the disk afterwards."""
    files, mode = {}, os.stat(place).st_mode & 0o666  # as the umask has it
    for name in os.listdir(place):
        path = os.path.join(place, name)
        os.chmod(path, mode)
        sync(path)
        files[name] = os.path.getsize(path), compute_checksum(path)
    with open(os.path.join(place, DIGESTS), "x") as file:
        json.dump({"name": os.path.basename(place), "files": files}, file)
    sync(os.path.join(place, DIGESTS))
    sync(place)


def sync(path):
    """Have a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(place):
    """Remove a file, a link (not what it leads to), a folder, or nothing."""
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    elif os.path.lexists(place):
        os.unlink(place)


@contextlib.contextmanager
def locked(folder):
    """Have a folder alone, until this process ends at the latest; yields whether it is so.

    On a file system without locks several may pack, each apart; the first gives its name.
    """
    import fcntl

    handle, until, alone = os.open(folder, os.O_RDONLY), time.monotonic() + MOST_SECONDS, None
    try:
        while alone is None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                if time.monotonic() > until:
                    raise OSError(f"{folder}: another process packs for too long") from None
                time.sleep(0.05)
            except OSError:
                alone = False
        yield alone
    finally:
        os.close(handle)


def make_room(folder, needed, alone):
    """Remove what killed processes left; OSError where there is too little room all the same."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(STAGED):
            with contextlib.suppress(OSError):
                if alone or time.time() - os.lstat(path).st_mtime > MOST_SECONDS:
                    remove(path)
    free = shutil.disk_usage(folder).free
    if free < needed:
        text = f"packing needs about {-(-needed // MIB)} MiB there, {free // MIB} are free"
        raise OSError(f"{folder}: {text}")


def run_apart(order):
    """Pack in a process of its own, which a runtime may end; return its exit code and last line.

    A new interpreter has none of this program's threads and locks. Where the program is no Python,
    or this text has no file of its own, a copy of the process has to do.
    """
    python, code, line = os.path.basename(sys.executable or ""), OTHER_KIND, ""
    with contextlib.suppress(OSError, ValueError), open(THIS_FILE, encoding="utf-8") as file:
        own = file.read().endswith(ENDING) and not hasattr(sys, "frozen")
        if own and python.startswith(("python", "pypy")):
            import subprocess as sub

            words = [sys.executable, THIS_FILE, PACK, json.dumps(order)]
            environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, sys.path)))
            pipes = dict.fromkeys(("stdin", "stdout"), sub.DEVNULL)
            pipes["stderr"] = None if verbose() else sub.PIPE
            done = sub.run(words, env=environment, **pipes)
            lines = (done.stderr or b"").decode("utf-8", "replace").strip().splitlines()
            code, line = done.returncode, "".join(lines[-1:])
    if code == OTHER_KIND and hasattr(os, "fork"):
        import multiprocessing

        child = multiprocessing.get_context("fork").Process(target=pack_here, args=(order, True))
        child.start()
        child.join()
        code = child.exitcode or 0
    return code, line


def pack_here(order, forked=False):
    """Pack, and prove what was packed, in the process that is for it and ends with its parent."""
    plan, place = order["plan"], order["place"]
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(MOST_SECONDS)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if forked and not verbose():
            faulthandler.disable()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        model = RUNTIMES[order["runtime"]]()
        before = identify(os.stat(plan["artefact"]))
        same = os.path.basename(model.choose_place(plan)) == os.path.basename(place)
        if not same or os.getppid() != order["parent"]:
            sys.exit(OTHER_KIND)
        model.prove(plan, place)
        if identify(os.stat(plan["artefact"])) != before:
            raise ValueError("the model was changed while it was packed")
        write_digests(place)
    except ImportError:
        sys.exit(OTHER_KIND)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {describe(error)}")


def cpu_features():
    """Lines of /proc/cpuinfo by which runtimes choose kernels, each once."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = {" ".join(line.split()) for line in file if line.startswith(FEATURES)}
    except OSError:
        return []
    return sorted(lines)


def mapped_files():
    """Yield (start, end) of this process's mappings of files that it does not write."""
    with open("/proc/self/maps") as file:
        for line in file:
            words = line.split(None, 5)
            if len(words) > 5 and words[5].startswith("/") and "w" not in words[1]:
                start, _, end = words[0].partition("-")
                yield int(start, 16), int(end, 16)


def clean(pages, start, end):
    """Tell for each page of a mapping, by a byte of 1 or 0, whether it is here as in its file.

    A page that was written, such as one of relocated addresses, has no file to come back from.
    """
    pages.seek(start // PAGE_BYTES * 8)
    return pages.read((end - start) // PAGE_BYTES * 8)[7::8].translate(CLEAN)


def residence():
    """Return the clean pages of file mappings by their (start, end); None where nobody tells."""
    try:
        with open("/proc/self/pagemap", "rb") as pages:
            return {place: clean(pages, *place) for place in mapped_files()}
    except OSError:
        return None


def release(before):
    """Give back free heap and the clean pages of files, but for those that were here `before`.

    Other threads must not unmap files meanwhile: load a model before there are any.
    """
    system = ctypes.CDLL(None)
    if hasattr(system, "malloc_trim"):
        system.malloc_trim(0)
    for (start, end), now in (residence() or {}).items():
        was = int.from_bytes(before.get((start, end), b""), "little")
        came = int.from_bytes(now, "little") & ~was
        for run in re.finditer(b"\x01+", came.to_bytes(len(now), "little")):
            place = ctypes.c_void_p(start + run.start() * PAGE_BYTES)
            system.madvise(place, ctypes.c_size_t(len(run[0]) * PAGE_BYTES), DONT_NEED)


class Lean:
    """What both runtimes do alike; the agent calls load, set, invoke and output."""

    # How weights are packed, one way after the other; what is kept, in sizes of the artefact.
    ways, room = [""], 1

    def load(self, plan):
        """Load what a plan names; release what loading alone needed, as its settings say."""
        plan, self.notes = {**plan, "settings": plan.get("settings") or {}}, []
        self.settle = self.choose_release(plan["settings"].get("release", "model"))
        with quiet():
            self.facts = self.open(plan)
        self.settle()
        for note in self.notes:
            warn(note)
        return self.facts

    def open(self, plan):
        """Load from what is kept, made once more where it is wrong; plainly where that fails."""
        try:
            for last in (False, True):
                before, place = identify(os.stat(plan["artefact"])), self.choose_place(plan)
                if plan["settings"].get("cold") and not last:
                    remove(place)
                warm = self.keep(plan, place)
                try:
                    facts = self.start(plan, place)
                    if find_fault(place) is not None:
                        raise OSError("it was changed while it was loaded")
                except Exception as error:
                    if last or not warm:
                        raise
                    self.notes.append(f"{place}: {describe(error)}; packed once more")
                    remove(place)
                else:
                    if identify(os.stat(plan["artefact"])) == before:
                        return {**facts, "warm": warm}
            raise OSError("the model is changed while it is loaded")
        except Exception as error:
            reason = describe(error)
        facts = self.start(plan, None)
        hint = "make room there or name another folder (cache)"
        self.notes = [f"{plan['artefact']} is loaded plainly, in more memory: {reason}; {hint}"]
        return {**facts, "warm": False, "plain": reason}

    def choose_place(self, plan):
        """Return the folder of what is kept: it is good for these bytes, runtime and CPU alone."""
        beside, name = os.path.split(os.path.abspath(plan["artefact"]))
        cache = os.path.normpath(plan["settings"].get("cache") or name + ".cache")
        folder = os.path.join(beside, cache)
        straight = os.path.normpath(os.path.join(os.path.realpath(beside), cache))
        if not os.path.isabs(cache) and os.path.realpath(folder) != straight:
            raise OSError(f"{folder} is a link, which is not followed")
        machine = zlib.crc32("\n".join([platform.machine(), *cpu_features()]).encode())
        checksum = compute_checksum(plan["artefact"], apart=True)
        return os.path.join(folder, f"{self.kind}-{checksum:08x}-{machine:08x}")

    def keep(self, plan, place):
        """Have packed weights in their place; tell whether they were there before."""
        fault, (folder, name) = find_fault(place), os.path.split(place)
        if fault is None:
            return True
        os.makedirs(folder, exist_ok=True)
        with locked(folder) as alone:
            if find_fault(place) is None:
                return True  # another process has packed meanwhile
            remove(place)
            make_room(folder, os.path.getsize(plan["artefact"]) * self.room, alone)
            staged = os.path.join(folder, STAGED + os.urandom(8).hex())
            os.mkdir(staged)
            try:
                self.pack_apart(plan, os.path.join(staged, name))
                try:
                    os.rename(os.path.join(staged, name), place)
                except OSError:
                    if find_fault(place) is not None:  # without locks another may be quicker
                        raise
                sync(folder)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
        if fault:
            self.notes.append(f"{place}: {fault}; packed once more")
        return False

    def pack_apart(self, plan, place):
        """Have another process pack into a new folder: this one could be ended by it."""
        plan = {key: plan[key] for key in ("artefact", "threads", "settings")}
        order = {"runtime": self.name, "place": place, "parent": os.getpid()}
        os.mkdir(place)
        for way in self.ways:
            code, line = run_apart({**order, "plan": {**plan, "way": way}})
            # Digests say that it has ended well: its exit code may have gone to somebody else.
            if find_fault(place) is None:
                return
            if code > 0:
                break
        line = f"ended by signal {-code}" if code < 0 else line or f"exit code {code}"
        if code == OTHER_KIND:
            line = "not possible inside this program; run python lean.py before"
        raise OSError(f"packing in {os.path.dirname(os.path.dirname(place))} failed: {line}")

    def prove(self, plan, place):
        """Pack into a folder, load from there, and compare the logits of both."""
        import numpy

        self.settle = self.choose_release("none")
        self.pack(plan, place)
        image = numpy.sin(numpy.arange(numpy.prod(self.shape), dtype=numpy.float32))
        packed = numpy.array(self(image.reshape(self.shape)))
        self.start(plan, place)
        mapped, tolerance = self(image.reshape(self.shape)), 1e-3 * float(numpy.abs(packed).max())
        if not numpy.allclose(mapped, packed, 1e-3, tolerance, equal_nan=True):
            raise ValueError("packed weights give other logits")

    def choose_release(self, release_mode):
        """Return what releases pages, as `release_mode` says; it may be called more than once."""
        before = None if release_mode == "none" or sys.platform != "linux" else residence()
        if before is None:
            return lambda: None
        return lambda: release(before if release_mode == "model" else {})

    def __call__(self, array):
        self.set(array)
        self.invoke()
        return self.output()


class LeanOnnxRuntime(Lean):
    """ONNX Runtime on a graph that it has optimised before, packed weights mapped."""

    # With weights as it packs them; releases 1.21 to 1.31 end the process when they read those.
    name, ways, room = "onnxruntime", ["1", "0"], 2

    def __init__(self):
        with quiet():
            import onnxruntime

        self.module, self.version = onnxruntime, onnxruntime.__version__
        self.kind = "ort-" + self.version
        onnxruntime.set_default_logger_severity(3)

    def options(self, plan):
        options = self.module.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = plan["threads"], 1
        spinning = plan["settings"].get("spinning", True)
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        return options

    def start(self, plan, place):
        """Open what is kept in a folder, or the file itself."""
        self.session, options, model = None, self.options(plan), plan["artefact"]
        if place:
            model = os.path.join(place, "model.onnx")
            options.graph_optimization_level = self.module.GraphOptimizationLevel.ORT_DISABLE_ALL
            # A memory pattern from the first run would be a second arena beside the first run's.
            options.enable_mem_pattern = False
            self.use_arena(plan["settings"].get("arena_bytes", ARENA_BYTES))
            options.add_session_config_entry("session.use_env_allocators", "1")
        return self.use(self.module.InferenceSession(model, options, ["CPUExecutionProvider"]))

    def use(self, session):
        """Run a session from now on."""
        self.session, self.input = session, session.get_inputs()[0]
        self.input_shape = [n if isinstance(n, int) else None for n in self.input.shape]
        self.shape = [n or 1 for n in self.input_shape]
        meta = session.get_modelmeta().custom_metadata_map
        return {"delegate": session.get_providers()[0], "partitions": None, "metadata": meta}

    def pack(self, plan, folder):
        """Let the runtime optimise the graph and write it, with its weights as it packs them."""
        options = self.options(plan)
        options.optimized_model_filepath = os.path.join(folder, "model.onnx")
        prefix = "session.optimized_model_external_initializers_"
        options.add_session_config_entry(prefix + "file_name", "model.data")
        options.add_session_config_entry(prefix + "min_size_in_bytes", str(LEAST_EXTERNAL_BYTES))
        key = "session.save_external_prepacked_constant_initializers"
        options.add_session_config_entry(key, plan["way"])
        providers = ["CPUExecutionProvider"]
        self.use(self.module.InferenceSession(plan["artefact"], options, providers))

    def use_arena(self, size):
        """Let sessions share one arena that starts in one piece: pages not used cost nothing."""
        module = self.module
        kind = module.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        info = module.OrtMemoryInfo("Cpu", kind, 0, module.OrtMemType.DEFAULT)
        facts = {"max_mem": 0, "arena_extend_strategy": 0}
        facts.update(initial_chunk_size_bytes=size, max_dead_bytes_per_chunk=1)
        module.create_and_register_allocator(info, module.OrtArenaCfg(facts))

    def set(self, array):
        self.feed = {self.input.name: check_input(array, self.input_shape)}

    def invoke(self):
        self.out = self.session.run(None, self.feed)

    def output(self):
        return self.out[0]


class LeanLiteRt(Lean):
    """LiteRT with XNNPACK, whose packed weights are mapped from its weight cache."""

    name, environment = "litert", None

    def __init__(self):
        with quiet():
            import ai_edge_litert
            from ai_edge_litert import compiled_model

        if not hasattr(compiled_model, "Environment"):
            raise ImportError("ai-edge-litert 2.1.6 or newer has what lean.py needs")
        # Not by importlib.metadata, which would be 2 MiB of the process.
        self.module, self.version = compiled_model, ai_edge_litert.__version__
        self.kind = "litert-" + self.version

    def start(self, plan, place):
        """Load the file, with packed weights of a folder; the runtime packs what is not there."""
        import numpy

        module, self.model = self.module, None
        if self.environment is None:
            # It opens every accelerator's library that it finds, and says when it ends: one will
            # do for all models, and stays.
            LeanLiteRt.environment = module.Environment.create()
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.environment))
        self.settle()
        cpu = module.CpuOptions(num_threads=plan["threads"])
        if place:
            cpu.xnnpack_weight_cache_path = os.path.join(place, "weights.xnnpack")
        if self.version.startswith(FLAGS_OF):
            cpu.xnnpack_flags = XNNPACK_FLAGS
        kind = module.HardwareAccelerator.CPU
        options = module.Options(hardware_accelerators=kind, cpu_options=cpu)
        self.model = module.CompiledModel.from_file(
            plan["artefact"], environment=self.environment, options=options
        )
        key, names = next(iter(self.model.get_signature_list().items()))
        input_details = self.model.get_input_tensor_details(key)[names["inputs"][0]]
        output_details = self.model.get_output_tensor_details(key)[names["outputs"][0]]
        self.shape, self.out = (
            [int(n) for n in input_details["shape"]],
            [int(n) for n in output_details["shape"]],
        )
        self.input_buffers = self.model.create_input_buffers(0)
        self.output_buffers = self.model.create_output_buffers(0)
        # The first write makes one more environment, which says so now and when it ends.
        self.input_buffers[0].write(numpy.zeros(self.shape, numpy.float32))
        leave_quietly()
        whole = self.model.is_fully_accelerated()
        facts = {"delegate": "XNNPACK", "partitions": 1} if whole else {"delegate": "none"}
        return {"partitions": None, "undelegated": int(not whole), **facts}

    pack = start

    def set(self, array):
        self.input_buffers[0].write(check_input(array, self.shape))

    def invoke(self):
        self.model.run_by_index(0, self.input_buffers, self.output_buffers)

    def output(self):
        import numpy

        logits = self.output_buffers[0].read(int(numpy.prod(self.out)), numpy.float32)
        return numpy.array(logits).reshape(self.out)


RUNTIMES = {"onnxruntime": LeanOnnxRuntime, "litert": LeanLiteRt}


def main(words):
    """Pack the weights of files, in this process where that is what it was started for."""
    if words[:1] == [PACK]:
        return pack_here(json.loads(words[1]))
    if not words or words[0][0] == "-":
        return "usage: python lean.py MODEL.onnx or MODEL.tflite: packs its weights beside it"
    for path in words:
        try:
            fault = open_model(path).facts.get("plain")
        except Exception as error:
            fault = describe(error)
        if fault:
            return f"{path}: {fault}"
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
