/* fca-run: a TFLite file of fca_edge on XNNPACK, without Python. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "arrays.h"
#include "fca_run.h"
#include "store.h"

static const char HELP[] =
    "usage: fca-run MODEL.tflite INPUT OUTPUT [options]   runs inputs, one by one\n"
    "       fca-run MODEL.tflite [options]                packs the weights for this machine\n"
    "\n"
    "INPUT is a .npy array of float32 in the model's shape (or several along its first axis), or a\n"
    "file of bare floats. OUTPUT is written as .npy or .npz, by its name, else as bare floats.\n"
    "\n"
    "  --threads N   run on N threads, 1 to 1024 (usual: 1)\n"
    "  --bench N     time N runs, after three others; without INPUT on random numbers\n"
    "  --profile     time every operator of one run\n"
    "  --cache DIR   keep packed weights there (usual: MODEL.tflite.cache beside the model)\n"
    "  --no-cache    pack the weights at each load and keep nothing\n"
    "  --version     tell XNNPACK's version\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 a word of the command line is wrong.\n";

struct options {
  const char *model, *input, *output;
  struct fr_settings settings;
  size_t bench;
};

static int refuse(const char *text, const char *word) {
  (void)fprintf(stderr, "fca-run: %s%s; see fca-run --help\n", word, text);
  return 2;
}

static bool read_number(const char *text, size_t most, size_t *number) {
  char *end;
  unsigned long value = text ? strtoul(text, &end, 10) : 0;
  if (!text || *text < '0' || *text > '9' || *end || value == 0 || value > most) return false;
  *number = value;
  return true;
}

static int read_options(int count, char **words, struct options *options) {
  const char **places[] = {&options->model, &options->input, &options->output};
  size_t used = 0;
  for (int i = 1; i < count; i++) {
    const char *word = words[i], *next = i + 1 < count ? words[i + 1] : NULL;
    if (strcmp(word, "--threads") == 0) {
      if (!read_number(next, 1024, &options->settings.threads))
        return refuse(" takes a whole number from 1 to 1024", word);
      i++;
    } else if (strcmp(word, "--bench") == 0) {
      if (!read_number(next, 1000000, &options->bench))
        return refuse(" takes a whole number from 1 to 1000000", word);
      i++;
    } else if (strcmp(word, "--cache") == 0) {
      if (!next) return refuse(" takes a folder", word);
      options->settings.cache = next;
      i++;
    } else if (strcmp(word, "--no-cache") == 0) {
      options->settings.no_cache = true;
    } else if (strcmp(word, "--profile") == 0) {
      options->settings.profile = true;
    } else if (word[0] == '-' && word[1]) {
      return refuse(": there is no such option", word);
    } else if (used == sizeof places / sizeof *places) {
      return refuse(": one word too many", word);
    } else {
      *places[used++] = word;
    }
  }
  if (!options->model) return refuse("name a model", "");
  if (options->input && !options->output) return refuse("name an output, too", "");
  return 0;
}

static int fail(const char *why) {
  (void)fprintf(stderr, "fca-run: %s\n", why);
  return 1;
}

static void say_operator(void *context, const struct fr_span *span) {
  (void)context;
  (void)printf("%8" PRIu64 " us  %s%s%s\n", span->microseconds, span->kind,
               span->tensor[0] ? "  " : "", span->tensor);
}

static int compare(const void *a, const void *b) {
  const uint64_t *m = a, *n = b;
  return (*m > *n) - (*m < *n);
}

static bool bench(struct fr_model *model, size_t runs, const float *in, float *out, char *why) {
  uint64_t *spans = calloc(runs, sizeof *spans);
  bool done = spans != NULL;
  for (size_t i = 0; done && i < runs + 3; i++) {
    uint64_t start = fr_now();
    done = fr_run(model, in, out, why) == FR_OK;
    if (i >= 3) spans[i - 3] = fr_now() - start;
  }
  if (done) {
    qsort(spans, runs, sizeof *spans, compare);
    (void)printf("%.3f ms median, %.3f fastest, %.3f slowest of %zu\n",
                 (double)spans[runs / 2] / 1e6, (double)spans[0] / 1e6,
                 (double)spans[runs - 1] / 1e6, runs);
  }
  free(spans);
  return done;
}

/* Run all inputs of a file, or random numbers where there is none. */
static bool run(struct fr_model *model, const struct options *o, char *why) {
  const struct fr_shape *in = fr_input(model), *out = fr_output(model);
  struct fr_reader inputs = {.file = NULL, .count = 1};
  size_t batch = out->rank > 1 ? out->sizes[0] : 1;
  if (o->input && !fr_inputs_open(&inputs, o->input, in, why)) return false;
  float *image = malloc(4 * in->elements), *rows = calloc(inputs.count * out->elements, 4);
  bool done = image && rows;
  if (done && !o->input) fr_draw(image, in->elements, 1);
  for (size_t i = 0; done && i < inputs.count; i++) {
    if (inputs.file && fread(image, 4, in->elements, inputs.file) != in->elements) {
      (void)snprintf(why, FR_MESSAGE_BYTES, "%.300s: is cut", o->input);
      done = false;
    }
    done = done && fr_run(model, image, rows + i * out->elements, why) == FR_OK;
  }
  if (inputs.file) (void)fclose(inputs.file);
  if (done && o->settings.profile)
    done = fr_profile(model, say_operator, NULL, why) == FR_OK;
  if (done && o->bench) done = bench(model, o->bench, image, rows, why);
  if (done && o->output)
    done = fr_outputs_write(o->output, rows, inputs.count * batch, out, why);
  free(image);
  free(rows);
  return done;
}

int main(int count, char **words) {
  struct options options = {.settings = {.threads = 1}};
  struct fr_model *model = NULL;
  char why[FR_MESSAGE_BYTES] = "no memory";
  if (count > 1 && count < 4 && strcmp(words[1], "--agent") == 0) return fr_agent(words[2]);
  if (count == 2 && strcmp(words[1], "--help") == 0) return fputs(HELP, stdout) < 0;
  if (count == 2 && strcmp(words[1], "--version") == 0)
    return printf("fca-run 1, XNNPACK %s\n", fr_xnnpack_version()) < 0;
  int code = read_options(count, words, &options);
  if (code) return code;
  if (fr_open(options.model, &options.settings, &model, why) != FR_OK) return fail(why);
  struct fr_facts facts = fr_facts(model);
  if (facts.note) (void)fprintf(stderr, "fca-run: %s\n", facts.note);
  bool runs = options.input || options.bench || options.settings.profile;
  code = !runs || run(model, &options, why) ? 0 : fail(why);
  fr_close(model);
  return code;
}
