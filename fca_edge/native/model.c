#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph.h"
#include "store.h"

/* The exporter writes this where half precision will do, in LiteRT's words. */
#define HALF_ENTRY "reduced_precision_support"
enum { MOST_THREADS = 1024, ARM_HALF = 1 << 10 };

struct fr_model {
  uint8_t *map;
  size_t size, mapped;
  struct fr_file file;
  struct fr_graph graph;
  struct fr_origin origin;
  struct fr_store *store;
  pthreadpool_t pool;
  xnn_runtime_t runtime;
  struct fr_facts facts;
  struct fr_shape input, output;
  const float *bound_input; /* where the runtime reads and writes now */
  float *bound_output;
  char note[FR_MESSAGE_BYTES];
};

static enum fr_status fail(char *why, enum fr_status status, const char *path, const char *text) {
  char copy[FR_MESSAGE_BYTES];
  (void)snprintf(copy, sizeof copy, "%s", text);
  (void)snprintf(why, FR_MESSAGE_BYTES, "%.250s: %.250s", path, copy);
  return status;
}

/* Map a file with a page of zeros behind it: kernels read a little further than constants go. */
static enum fr_status map_file(struct fr_model *m, const char *path, char *why) {
  struct stat facts;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return fail(why, FR_SYSTEM, path, strerror(errno));
  enum fr_status status = FR_OK;
  if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    status = fail(why, FR_BAD_FILE, path, "is no file");
  } else if (facts.st_size < 16 || facts.st_size > INT32_MAX) {
    status = fail(why, FR_BAD_FILE, path, "is no TFLite file");
  } else {
    m->size = (size_t)facts.st_size;
    m->mapped = (m->size + page - 1) / page * page + page;
    void *all = mmap(NULL, m->mapped, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    m->map = all == MAP_FAILED ? NULL : all;
    if (!m->map ||
        mmap(m->map, m->size, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) == MAP_FAILED)
      status = fail(why, FR_SYSTEM, path, strerror(errno));
  }
  (void)close(file);
  return status;
}

static void drop_graph(struct fr_model *m) {
  fr_graph_free(&m->graph);
  for (size_t i = 0; i < m->graph.owned_count; i++) free(m->graph.owned[i]);
  free(m->graph.owned);
  free(m->graph.made);
  m->graph = (struct fr_graph){.file = NULL};
}

/* XNNPACK does not look whether its small tables could be had: see before it makes them. */
static bool has_memory(const struct fr_model *m) {
  void *some = malloc(((size_t)1 << 20) + 512 * (m->file.tensor_count + m->file.operator_count));
  free(some);
  return some != NULL;
}

/* Build the runtime on a store: 1 for done, 0 if the store is at fault, -1 if the file is. */
static int build(struct fr_model *m, const struct fr_settings *settings, char *why) {
  /* Tables of a convolution's addresses are kept: 1 MiB, and 11 M instructions less per run of
   * FcaFormer-L1 than XNN_FLAG_TRANSIENT_INDIRECTION_BUFFER. */
  uint32_t flags = settings->profile ? XNN_FLAG_BASIC_PROFILING : 0;
  if (m->facts.half) flags |= XNN_FLAG_HINT_FP16_INFERENCE;
  why[0] = '\0';
  if (!fr_graph_build(&m->graph, &m->file, m->store, why)) return -1;
  enum xnn_status status = xnn_status_out_of_memory;
  if (has_memory(m))
    status = xnn_create_runtime_v4(m->graph.subgraph, fr_store_cache(m->store), NULL, m->pool,
                                   flags, &m->runtime);
  bool full = status == xnn_status_out_of_memory;
  if (status == xnn_status_success || full) {
    if (!fr_store_finish(m->store, !full, m->note)) return 0;
    status = has_memory(m) ? xnn_reshape_runtime(m->runtime) : xnn_status_out_of_memory;
    if (status == xnn_status_success) return 1;
    full = status == xnn_status_out_of_memory;
  }
  (void)snprintf(why, FR_MESSAGE_BYTES, "%s",
                 full ? "no memory" : "XNNPACK does not take its graph");
  return full ? 0 : -1;
}

static void drop_runtime(struct fr_model *m, bool discard) {
  if (m->runtime) (void)xnn_delete_runtime(m->runtime);
  m->runtime = NULL;
  drop_graph(m);
  if (discard && m->store) fr_store_discard(m->store);
  else fr_store_close(m->store);
  m->store = NULL;
}

/* Build on what is kept, else on what is packed now and kept, else in memory. */
static enum fr_status load(struct fr_model *m, const char *path, const char *folder,
                           const struct fr_settings *settings, char *why) {
  int outcome = 0;
  for (int attempt = folder ? 0 : 2; attempt < 3 && outcome == 0; attempt++) {
    m->store = fr_store_open(&m->origin, attempt < 2 ? folder : NULL, m->note);
    if (!m->store) continue;
    m->facts.warm = fr_store_warm(m->store);
    outcome = build(m, settings, why);
    if (outcome != 1) drop_runtime(m, outcome == 0);
  }
  if (outcome == 1) return FR_OK;
  if (outcome < 0) return fail(why, FR_BAD_FILE, path, why);
  return fail(why, FR_SYSTEM, path, why[0] ? why : m->note);
}

/* Whether the file allows halves, and the core computes in them. */
static bool wants_half(struct fr_model *m) {
  size_t bytes = 0;
  return fr_find_metadata(&m->file, HALF_ENTRY, &bytes) != NULL && !m->file.bad;
}

static bool has_plain_ends(struct fr_model *m) {
  const struct fr_tensor *in = &m->file.tensors[m->file.input];
  const struct fr_tensor *out = &m->file.tensors[m->file.output];
  m->input = in->shape, m->output = out->shape;
  return in->type == TYPE_FLOAT32 && out->type == TYPE_FLOAT32 && !in->data && !out->data;
}

/* Give back the pages of files that loading has read: what is needed again is read again. */
static void give_back(struct fr_model *m) {
  char line[512];
  (void)madvise(m->map, m->size, MADV_DONTNEED);
  FILE *maps = fopen("/proc/self/maps", "re");
  while (maps && fgets(line, sizeof line, maps)) {
    uintptr_t start, end;
    char rights[5], name[2];
    /* Code alone: what is only readable may have been written when it was linked. */
    if (sscanf(line, "%zx-%zx %4s %*s %*s %*s %1s", &start, &end, rights, name) == 4 &&
        strcmp(rights, "r-xp") == 0 && name[0] == '/')
      (void)madvise((void *)start, end - start, MADV_DONTNEED);
  }
  if (maps) (void)fclose(maps);
}

/* Threads wait awake for each other: more of them than cores would keep each other from working. */
static size_t fit_threads(struct fr_model *m, size_t wanted) {
  cpu_set_t set;
  CPU_ZERO(&set);
  size_t cores = sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : wanted;
  if (wanted <= cores || cores == 0) return wanted;
  (void)snprintf(m->note, sizeof m->note, "asked for %zu threads, but %zu core%s can be used",
                 wanted, cores, cores == 1 ? "" : "s");
  return cores;
}

static enum fr_status open_model(struct fr_model *m, const char *path,
                                 const struct fr_settings *settings, char *why) {
  char text[FR_MESSAGE_BYTES] = "", folder[4096];
  if (settings->threads > MOST_THREADS)
    return fail(why, FR_BAD_ARGUMENT, path, "1 to 1024 threads are possible");
  enum fr_status status = map_file(m, path, why);
  if (status != FR_OK) return status;
  if (xnn_initialize(NULL) != xnn_status_success)
    return fail(why, FR_SYSTEM, path, "XNNPACK does not run on this processor");
  if (!fr_read(&m->file, m->map, m->size, text)) return fail(why, FR_BAD_FILE, path, text);
  if (!has_plain_ends(m)) return fail(why, FR_BAD_FILE, path, "takes or gives no float32");
  size_t threads = fit_threads(m, settings->threads);
  if (threads > 1) {
    m->pool = pthreadpool_create(threads);
    if (!m->pool) return fail(why, FR_SYSTEM, path, "its threads cannot be started");
  }
  m->facts.operators = m->file.operator_count;
  m->facts.version = fr_xnnpack_version();
  m->facts.half = wants_half(m);
  m->origin = (struct fr_origin){path, m->map, m->size, fr_graph_bound(&m->file), m->facts.half};
  int length = snprintf(folder, sizeof folder, "%s%s", settings->cache ? settings->cache : path,
                        settings->cache ? "" : ".cache");
  bool keeps = !settings->no_cache && length > 0 && (size_t)length < sizeof folder;
  status = load(m, path, keeps ? folder : NULL, settings, why);
  if (status == FR_OK && !settings->keep_pages) give_back(m);
  if (m->note[0]) m->facts.note = m->note;
  return status;
}

enum fr_status fr_open(const char *path, const struct fr_settings *settings,
                       struct fr_model **model, char *why) {
  static const struct fr_settings usual = {.threads = 1};
  char text[FR_MESSAGE_BYTES] = "";
  *model = NULL;
  struct fr_model *m = calloc(1, sizeof *m);
  enum fr_status status =
      m ? open_model(m, path, settings ? settings : &usual, text)
        : fail(text, FR_SYSTEM, path, "no memory");
  if (status == FR_OK) *model = m;
  else fr_close(m);
  (void)snprintf(why, FR_MESSAGE_BYTES, "%s", text);
  return status;
}

enum fr_status fr_run(struct fr_model *m, const float *input, float *output, char *why) {
  if (m->bound_input != input || m->bound_output != output) {
    const struct xnn_external_value ends[2] = {{GRAPH_INPUT, (void *)(uintptr_t)input},
                                               {GRAPH_OUTPUT, output}};
    if (xnn_setup_runtime_v2(m->runtime, 2, ends) != xnn_status_success)
      return fail(why, FR_SYSTEM, "run", "no memory");
    m->bound_input = input, m->bound_output = output;
  }
  if (xnn_invoke_runtime(m->runtime) != xnn_status_success)
    return fail(why, FR_SYSTEM, "run", "XNNPACK failed");
  return FR_OK;
}

void fr_close(struct fr_model *m) {
  if (!m) return;
  drop_runtime(m, false);
  if (m->pool) pthreadpool_destroy(m->pool);
  fr_free(&m->file);
  if (m->map) (void)munmap(m->map, m->mapped);
  free(m);
}

const struct fr_shape *fr_input(const struct fr_model *m) { return &m->input; }

const struct fr_shape *fr_output(const struct fr_model *m) { return &m->output; }

struct fr_facts fr_facts(const struct fr_model *m) { return m->facts; }

const char *fr_metadata(const struct fr_model *m, const char *name, size_t *bytes) {
  struct fr_file file = m->file;
  return (const char *)fr_find_metadata(&file, name, bytes);
}

enum fr_status fr_profile(struct fr_model *m,
                          void (*say)(void *context, const struct fr_span *span), void *context,
                          char *why) {
  size_t count = 0, bytes = 0, needed = 0;
  const enum xnn_profile_info names = xnn_profile_info_operator_name,
                              times = xnn_profile_info_operator_timing;
  if (xnn_get_runtime_profiling_info(m->runtime, xnn_profile_info_num_operators, sizeof count,
                                     &count, &needed) != xnn_status_success)
    return fail(why, FR_BAD_ARGUMENT, "profile", "the model was opened without it");
  (void)xnn_get_runtime_profiling_info(m->runtime, names, 0, NULL, &bytes);
  char *text = calloc(1, bytes + 1), *name = text;
  uint64_t *spans = calloc(count + 1, sizeof *spans);
  bool done = text && spans &&
              xnn_get_runtime_profiling_info(m->runtime, names, bytes, text, &needed) ==
                  xnn_status_success &&
              xnn_get_runtime_profiling_info(m->runtime, times, count * sizeof *spans, spans,
                                             &needed) == xnn_status_success;
  /* Where XNNPACK has joined operators nobody can tell which is which. */
  bool named = count == m->graph.made_count;
  for (size_t i = 0; done && i < count; i++) {
    char tensor[256] = "";
    const struct fr_tensor *made = named ? m->graph.made[i].tensor : NULL;
    size_t length = made && made->name_bytes < sizeof tensor ? made->name_bytes : 0;
    if (length) memcpy(tensor, made->name, length);
    struct fr_span span = {name, tensor, named ? m->graph.made[i].parts : 1, spans[i]};
    say(context, &span);
    name += strlen(name) + 1;
  }
  free(text);
  free(spans);
  return done ? FR_OK : fail(why, FR_SYSTEM, "profile", "no memory");
}
