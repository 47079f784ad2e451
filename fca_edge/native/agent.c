/* What fca-edge measures: reads a plan, one line of JSON, and says in lines of JSON what came. */
#define _GNU_SOURCE
#include "agent.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "arrays.h"
#include "meter.h"
#include "plan.h"
#include "store.h"

/* Closing descriptors that nobody has: system calls without effect, which tcg_cost.c waits for. */
enum { MARK_BEGIN = 0x0FCA0001, MARK_END = 0x0FCA0002, LINE_BYTES = 1 << 16 };

struct run {
  struct fr_plan plan;
  struct fr_model *model;
  float *input, *output;
  char why[FR_MESSAGE_BYTES], line[LINE_BYTES];
};

uint64_t fr_now(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Normally distributed numbers, the same for a seed on every machine. */
void fr_draw(float *values, size_t count, uint64_t seed) {
  uint64_t state = seed * 2862933555777941757u + 3037000493u;
  for (size_t i = 0; i < count; i++) {
    double sum = -6.0;
    for (int j = 0; j < 12; j++) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      sum += (double)(state >> 40) / 16777216.0;
    }
    values[i] = (float)sum;
  }
}

static void say(const char *event) {
  (void)printf("{\"event\": \"%s\"", event);
}

static void end_event(bool meter) {
  if (meter) fr_meter_say(stdout);
  (void)puts("}");
  (void)fflush(stdout);
}

static void say_ready(const struct fr_plan *plan) {
  struct utsname machine;
  (void)uname(&machine);
  say("ready");
  (void)printf(", \"runtime\": \"xnnpack\", \"version\": \"%s\", \"python\": \"none\", \"machine\": "
               "\"%s\", \"cores\": %ld",
               fr_xnnpack_version(), machine.machine, sysconf(_SC_NPROCESSORS_ONLN));
  if (plan->cpus[0]) (void)printf(", \"cpus\": \"%s\"", plan->cpus);
  end_event(true);
}

static bool load(struct run *run) {
  bool keeps = strcmp(run->plan.mode, "latency") == 0 || strcmp(run->plan.mode, "memory") == 0;
  bool profiles = strcmp(run->plan.mode, "profile") == 0;
  struct fr_settings settings = {
      .threads = run->plan.threads, .no_cache = !keeps, .profile = profiles};
  uint64_t start = fr_now();
  if (fr_open(run->plan.artefact, &settings, &run->model, run->why) != FR_OK) return false;
  struct fr_facts facts = fr_facts(run->model);
  run->input = malloc(4 * fr_input(run->model)->elements);
  run->output = malloc(4 * fr_output(run->model)->elements);
  if (!run->input || !run->output) {
    (void)snprintf(run->why, FR_MESSAGE_BYTES, "no memory");
    return false;
  }
  if (facts.note) (void)fprintf(stderr, "fca-run: %s\n", facts.note);
  say("loaded");
  (void)printf(", \"load_ns\": %" PRIu64 ", \"delegate\": \"XNNPACK\", \"partitions\": 1, "
               "\"operators\": %zu, \"undelegated\": 0, \"warm\": %s",
               fr_now() - start, facts.operators, facts.warm ? "true" : "false");
  end_event(true);
  return true;
}

static bool invoke(struct run *run) {
  return fr_run(run->model, run->input, run->output, run->why) == FR_OK;
}

static bool run_outputs(struct run *run) {
  struct fr_reader inputs;
  const struct fr_shape *in = fr_input(run->model), *out = fr_output(run->model);
  size_t batch = out->rank > 1 ? out->sizes[0] : 1;
  if (!fr_inputs_open(&inputs, run->plan.inputs, in, run->why)) return false;
  float *rows = calloc(inputs.count * out->elements, 4);
  bool done = rows != NULL;
  for (size_t i = 0; done && i < inputs.count; i++) {
    done = fread(run->input, 4, in->elements, inputs.file) == in->elements && invoke(run);
    if (done) memcpy(rows + i * out->elements, run->output, 4 * out->elements);
  }
  if (!done && !run->why[0])
    (void)snprintf(run->why, FR_MESSAGE_BYTES, "%.300s: is cut", run->plan.inputs);
  done = done &&
         fr_outputs_write(run->plan.outputs, rows, inputs.count * batch, out, run->why);
  (void)fclose(inputs.file);
  free(rows);
  if (done) {
    say("answer");
    end_event(false);
  }
  return done;
}

/* Draw the input, and run it until caches and clocks have settled. */
static bool warm_up(struct run *run) {
  fr_draw(run->input, fr_input(run->model)->elements, run->plan.seed);
  for (size_t i = 0; i < run->plan.warmups; i++)
    if (!invoke(run)) return false;
  return true;
}

static void say_maps(void) {
  char line[1024], path[900];
  unsigned long long start, end, offset;
  bool first = true;
  FILE *maps = fopen("/proc/self/maps", "re");
  say("maps");
  (void)printf(", \"maps\": [");
  while (maps && fgets(line, sizeof line, maps)) {
    if (sscanf(line, "%llx-%llx %*s %llx %*s %*s %899s", &start, &end, &offset, path) != 4 ||
        path[0] != '/' || strpbrk(path, "\"\\"))
      continue;
    (void)printf("%s[%llu, %llu, %llu, \"%s\"]", first ? "" : ", ", start, end, offset, path);
    first = false;
  }
  if (maps) (void)fclose(maps);
  (void)printf("]");
  end_event(false);
}

static bool run_samples(struct run *run) {
  static const char state[] = "{\"frequency_khz\": null, \"celsius\": null, \"held_back\": false}";
  bool counts = strcmp(run->plan.mode, "cost") == 0;
  if (!warm_up(run)) return false;
  if (run->plan.waits) {
    say("warm");
    end_event(false);
    (void)fgets(run->line, sizeof run->line, stdin);
  }
  uint64_t *spans = calloc(run->plan.iterations + 1, sizeof *spans);
  bool done = spans != NULL;
  for (size_t i = 0; done && i < run->plan.iterations; i++) {
    if (counts) (void)close(MARK_BEGIN);
    uint64_t start = fr_now();
    done = invoke(run);
    spans[i] = fr_now() - start;
    if (counts) (void)close(MARK_END);
  }
  if (done && counts) say_maps();
  if (done && strcmp(run->plan.mode, "latency") == 0) {
    say("samples");
    (void)printf(", \"latency_ns\": [");
    for (size_t i = 0; i < run->plan.iterations; i++)
      (void)printf("%s%" PRIu64, i ? ", " : "", spans[i] ? spans[i] : 1);
    (void)printf("], \"before\": %s, \"after\": %s", state, state);
    end_event(false);
  }
  free(spans);
  return done;
}

/* One operator's time in every run; its name and kind are those of the last one. */
struct column {
  char kind[128], tensor[256];
  size_t parts;
  uint64_t *spans;
};

struct table {
  struct column *columns;
  size_t count, used, runs, run;
};

/* Names go into JSON: what would have to be escaped there is replaced. */
static void copy_plain(char *out, size_t room, const char *text) {
  size_t i = 0;
  for (; text[i] && i + 1 < room; i++)
    out[i] = text[i] < ' ' || text[i] > '~' || strchr("\"\\", text[i]) ? '_' : text[i];
  out[i] = '\0';
}

static void add_operator(void *context, const struct fr_span *span) {
  struct table *table = context;
  if (table->used == table->count) {
    size_t count = table->count ? 2 * table->count : 256;
    struct column *grown = realloc(table->columns, count * sizeof *grown);
    if (!grown) return;
    memset(grown + table->count, 0, (count - table->count) * sizeof *grown);
    table->columns = grown, table->count = count;
  }
  struct column *column = &table->columns[table->used++];
  if (!column->spans) column->spans = calloc(table->runs, sizeof *column->spans);
  copy_plain(column->kind, sizeof column->kind, span->kind);
  copy_plain(column->tensor, sizeof column->tensor, span->tensor);
  column->parts = span->parts;
  if (column->spans) column->spans[table->run] = 1000 * span->microseconds;
}

static void say_spans(const uint64_t *spans, size_t count) {
  (void)putchar('[');
  for (size_t i = 0; i < count; i++)
    (void)printf("%s%" PRIu64, i ? ", " : "", spans ? spans[i] : 0);
  (void)putchar(']');
}

static bool run_profile(struct run *run) {
  struct table table = {.runs = run->plan.iterations};
  uint64_t *whole = calloc(table.runs + 1, sizeof *whole);
  bool done = whole != NULL && warm_up(run);
  for (; done && table.run < table.runs; table.run++) {
    uint64_t start = fr_now();
    (void)close(MARK_BEGIN);
    done = invoke(run);
    (void)close(MARK_END);
    whole[table.run] = fr_now() - start;
    table.used = 0;
    done = done && fr_profile(run->model, add_operator, &table, run->why) == FR_OK;
  }
  if (done) {
    say("profile");
    (void)printf(", \"whole\": ");
    say_spans(whole, table.runs);
    (void)printf(", \"operators\": [");
    for (size_t i = 0; i < table.used; i++) {
      const struct column *column = &table.columns[i];
      (void)printf("%s{\"name\": \"%s\", \"kind\": \"%s\", \"parts\": %zu, \"samples\": ",
                   i ? ", " : "", column->tensor, column->kind, column->parts);
      say_spans(column->spans, table.runs);
      (void)putchar('}');
    }
    (void)putchar(']');
    end_event(false);
  }
  for (size_t i = 0; i < table.count; i++) free(table.columns[i].spans);
  free(table.columns);
  free(whole);
  return done;
}

/* The line is standard input's next, unless a word has it. */
static bool read_line(struct run *run) {
  return fgets(run->line, sizeof run->line, stdin) && fr_plan_read(&run->plan, run->line);
}

int fr_agent(const char *plan) {
  static struct run run = {.plan = {.threads = 1, .iterations = 1}};
  if (plan ? !fr_plan_read(&run.plan, plan) : !read_line(&run)) {
    (void)fputs("fca-run: there is no plan, or one that cannot be read\n", stderr);
    return 2;
  }
  fr_meter_start(run.plan.guest);
  say_ready(&run.plan);
  bool done = load(&run);
  if (done && strcmp(run.plan.mode, "stream") == 0) {
    while (done && read_line(&run)) done = run_outputs(&run);
  } else if (done && strcmp(run.plan.mode, "profile") == 0) {
    done = run_profile(&run);
  } else if (done) {
    done = strcmp(run.plan.mode, "outputs") == 0 ? run_outputs(&run) : run_samples(&run);
  }
  if (done) {
    say("done");
    end_event(true);
  } else {
    (void)fprintf(stderr, "fca-run: %s\n", run.why);
  }
  fr_close(run.model);
  free(run.input);
  free(run.output);
  return done ? 0 : 1;
}
