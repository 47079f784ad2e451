"""Load an artefact in little memory. Stand-alone: NumPy and one runtime. Copy it to the board.

    from lean import open_model
    model = open_model("fcaformer_l1-fp32.tflite")
    logits = model(image)  # float32, in the shape and layout of the file; else a ValueError

What the runtime makes of the weights is made once for a machine, kept in a folder beside the
artefact, and mapped from there afterwards. The first load makes it and needs more memory;
`python lean.py ARTEFACT` does that and nothing else. The agent measures with this very file.
Settings (NAME.runtime.json beside an artefact, `settings`): threads; cache: the folder, else beside
the artefact; arena_bytes: activations lie in one piece of about this size (ONNX Runtime); spinning:
threads wait awake; release: "model" gives back the clean pages of files that loading brought in,
"all" those of the runtime's libraries from before, too, "none" nothing: what is needed is read
again; cold: make the cache anew. FCA_EDGE_VERBOSE=1 shows what the runtime says while it loads.
"""

import contextlib
import ctypes
import faulthandler
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import zlib

ARENA_BYTES = 16 << 20
# Numbers of Linux; elsewhere nothing is released.
DONT_NEED = 4
FEATURES = ("model name", "flags", "Features", "CPU part", "CPU implementer")
LEAST_EXTERNAL_BYTES = 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# The highest bits of a page's entry: present, and the page of a file.
CLEAN = 0xA0
ORDERS = ((0, 2, 3, 1), (0, 3, 1, 2))  # of axes: channels last, and first again
# Lines of LiteRT and ONNX Runtime that are no errors, and what continues them.
NOISE = re.compile(rb"(INFO|WARNING|VERBOSE)\b|\xe2\x94\x94|.*\[[IWV]:onnxruntime|\s*$")
# XNNPACK's flags as this version of LiteRT sets them (QS8, QU8, dynamic FULLY_CONNECTED), and one
# more: tables of a convolution's addresses are made in the arena, when it runs, instead of kept.
XNNPACK_FLAGS, FLAGS_OF = 0x01 | 0x02 | 0x08 | 0x20, "2.3."


def open_model(artefact, runtime=None, **settings):
    """Load a .onnx or .tflite file; the result is called with one input and gives the logits."""
    name = runtime or ("litert" if artefact.endswith(".tflite") else "onnxruntime")
    settings = {**stored(artefact), **settings}
    model = RUNTIMES[name]()
    model.load({"artefact": artefact, "threads": settings.get("threads", 1), "settings": settings})
    return model


def stored(artefact):
    """Read the settings beside an artefact; none where there are none."""
    try:
        with open(artefact + ".runtime.json") as file:
            return json.load(file)["settings"]
    except FileNotFoundError:
        return {}


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


def choose_place(artefact, settings, version):
    """Return (folder, name) of what is kept: it is good for these bytes, runtime and CPU alone."""
    checksum = 0
    with open(artefact, "rb") as file:
        if hasattr(os, "posix_fadvise"):
            # Read ahead, a file comes into the system's cache in pieces of up to 2 MiB; a
            # process that then maps it and touches one number is charged with a whole piece.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for chunk in iter(lambda: file.read(1 << 16), b""):
            checksum = zlib.crc32(chunk, checksum)
    machine = zlib.crc32("\n".join([platform.machine(), *cpu_features()]).encode())
    folder = settings.get("cache") or artefact + ".cache"
    return folder, f"{version}-{checksum:08x}-{machine:08x}"


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
    entries = pages.read((end - start) // PAGE_BYTES * 8)
    return bytes(byte & CLEAN == CLEAN for byte in entries[7::8])


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
        was = before.get((start, end), bytes(len(now)))
        came = bytes(a > b for a, b in zip(now, was))
        for run in re.finditer(b"\x01+", came):
            place = ctypes.c_void_p(start + run.start() * PAGE_BYTES)
            system.madvise(place, ctypes.c_size_t(len(run[0]) * PAGE_BYTES), DONT_NEED)


def run_apart(work, trial=False):
    """Do work in a process of its own where there is fork: what it needed goes with it.

    A trial returns whether it went well, and is silent; else what fails is said and raised.
    """
    if not hasattr(os, "fork"):
        work()
        return True
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            if trial:
                faulthandler.disable()
            work()
            failed = 0
        except BaseException as error:
            if not trial:
                line = "".join(str(error).strip().splitlines()[:1])
                print("lean.py:", type(error).__name__, line, file=sys.stderr, flush=True)
        finally:
            os._exit(failed)
    failed = os.waitpid(child, 0)[1]
    if failed and not trial:
        raise OSError("the weights could not be packed; the reason stands above")
    return not failed


class Lean:
    """What both runtimes do alike; the agent calls load, set, invoke and output."""

    def load(self, plan):
        """Load what a plan names; release what loading alone needed, as its settings say."""
        plan = {**plan, "settings": plan.get("settings") or {}}
        self.settle = self.choose_release(plan["settings"].get("release", "model"))
        with quiet():
            facts = self.open(plan)
        self.settle()
        return facts

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

    def __init__(self):
        with quiet():
            import onnxruntime

        self.module, self.version = onnxruntime, onnxruntime.__version__
        onnxruntime.set_default_logger_severity(3)

    def options(self, plan):
        options = self.module.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = plan["threads"], 1
        spinning = plan["settings"].get("spinning", True)
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        return options

    def open(self, plan):
        folder, name = choose_place(plan["artefact"], plan["settings"], "ort-" + self.version)
        place = os.path.join(folder, name)
        if plan["settings"].get("cold"):
            shutil.rmtree(place, ignore_errors=True)
        warm = os.path.isdir(place)
        if not warm:
            self.keep(plan, folder, place)
        self.start(plan, place)
        meta = self.session.get_modelmeta().custom_metadata_map
        provider = self.session.get_providers()[0]
        return {"delegate": provider, "partitions": None, "metadata": meta, "warm": warm}

    def start(self, plan, place):
        """Open what is kept in a folder."""
        options = self.options(plan)
        options.graph_optimization_level = self.module.GraphOptimizationLevel.ORT_DISABLE_ALL
        # A memory pattern from the first run would be a second arena beside that of the first run.
        options.enable_mem_pattern = False
        self.use_arena(plan["settings"].get("arena_bytes", ARENA_BYTES))
        options.add_session_config_entry("session.use_env_allocators", "1")
        model = os.path.join(place, "model.onnx")
        self.session = self.module.InferenceSession(model, options, ["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        self.input_shape = [n if isinstance(n, int) else None for n in self.input.shape]
        self.shape = [n or 1 for n in self.input_shape]

    def keep(self, plan, folder, place):
        """Write the optimised graph with packed weights; plain ones where packed ones do not run.

        Releases 1.21 to 1.31 read what they packed themselves and then end the process.
        """
        os.makedirs(folder, exist_ok=True)
        for packed in "10" if hasattr(os, "fork") else "0":
            staged = tempfile.mkdtemp(dir=folder)
            try:
                run_apart(lambda: self.pack(plan, staged, packed))  # noqa: B023
                if packed == "0" or run_apart(lambda: self.trial(plan, staged), True):  # noqa: B023
                    os.rename(staged, place)
                    return
            finally:
                shutil.rmtree(staged, ignore_errors=True)

    def pack(self, plan, folder, packed):
        """Let the runtime optimise the graph and write it, with its weights as it packs them."""
        options = self.options(plan)
        options.optimized_model_filepath = os.path.join(folder, "model.onnx")
        prefix = "session.optimized_model_external_initializers_"
        options.add_session_config_entry(prefix + "file_name", "model.data")
        options.add_session_config_entry(prefix + "min_size_in_bytes", str(LEAST_EXTERNAL_BYTES))
        key = "session.save_external_prepacked_constant_initializers"
        options.add_session_config_entry(key, packed)
        self.module.InferenceSession(plan["artefact"], options, ["CPUExecutionProvider"])

    def trial(self, plan, folder):
        """Run what was written once."""
        import numpy

        self.start(plan, folder)
        self.set(numpy.zeros(self.shape, numpy.float32))
        self.invoke()

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

    environment = None

    def __init__(self):
        with quiet():
            import ai_edge_litert
            from ai_edge_litert import compiled_model

        if not hasattr(compiled_model, "Environment"):
            raise ImportError("ai-edge-litert 2.1.6 or newer has what lean.py needs")
        # Not by importlib.metadata, which would be 2 MiB of the process.
        self.module, self.version = compiled_model, ai_edge_litert.__version__

    def open(self, plan):
        import numpy

        settings, module = plan["settings"], self.module
        folder, name = choose_place(plan["artefact"], settings, "litert-" + self.version)
        place = os.path.join(folder, name + ".xnnpack")
        os.makedirs(folder, exist_ok=True)
        if settings.get("cold") and os.path.exists(place):
            os.remove(place)
        warm = os.path.exists(place)
        if self.environment is None:
            # It opens every accelerator's library that it finds, and says when it ends: one will
            # do for all models, and stays.
            LeanLiteRt.environment = module.Environment.create()
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.environment))
        self.settle()
        cpu = module.CpuOptions(num_threads=plan["threads"], xnnpack_weight_cache_path=place)
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
        return {"partitions": None, "undelegated": int(not whole), "warm": warm, **facts}

    def set(self, array):
        self.input_buffers[0].write(check_input(array, self.shape))

    def invoke(self):
        self.model.run_by_index(0, self.input_buffers, self.output_buffers)

    def output(self):
        import numpy

        logits = self.output_buffers[0].read(int(numpy.prod(self.out)), numpy.float32)
        return numpy.array(logits).reshape(self.out)


RUNTIMES = {"onnxruntime": LeanOnnxRuntime, "litert": LeanLiteRt}


if __name__ == "__main__":
    if not sys.argv[1:] or sys.argv[1][0] == "-":
        sys.exit("usage: python lean.py MODEL.onnx or MODEL.tflite: packs its weights beside it")
    for path in sys.argv[1:]:
        try:
            open_model(path)
        except Exception as error:
            sys.exit(path + ": " + (str(error) or type(error).__name__).splitlines()[0])
