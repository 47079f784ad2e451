/* classify: the likeliest classes of pictures, by the model of a bundle. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fca_picture.h"
#include "fca_run.h"

#define MOST_SHOWN 5

static const char HELP[] =
    "usage: classify [options] PICTURE...   prints the five likeliest classes of each\n"
    "\n"
    "A PICTURE is a PNG or PPM (P6), or a .npy array of float32 that is the model's input.\n"
    "settings.txt says how pictures are prepared, labels.txt what the classes are called.\n"
    "\n"
    "  --json         print an object of JSON for each picture, one on a line\n"
    "  --threads N    run on N threads, 1 to 1024 (usual: as in settings.txt)\n"
    "  --bundle DIR   folder of settings.txt, labels.txt and the model (usual: this program's)\n"
    "\n"
    "Exit codes: 0 done, 1 a picture or all failed, 2 a word of the command line is wrong.\n";

struct options {
  const char *bundle;
  size_t threads;
  bool json;
  int first; /* of the pictures, among the words */
};

struct state {
  struct fp_bundle *bundle;
  struct fr_model *model;
  float *input, *logits;
};

static int refuse(const char *word, const char *text) {
  (void)fprintf(stderr, "classify: %s%s; see classify --help\n", word, text);
  return 2;
}

static int read_options(int count, char **words, struct options *o) {
  for (o->first = 1; o->first < count; o->first++) {
    const char *word = words[o->first], *next = o->first + 1 < count ? words[o->first + 1] : "";
    char *end;
    if (strcmp(word, "--json") == 0) {
      o->json = true;
    } else if (strcmp(word, "--threads") == 0) {
      unsigned long threads = *next >= '0' && *next <= '9' ? strtoul(next, &end, 10) : 0;
      if (threads < 1 || threads > 1024 || *end)
        return refuse(word, " takes a whole number from 1 to 1024");
      o->threads = threads;
      o->first++;
    } else if (strcmp(word, "--bundle") == 0) {
      if (!*next) return refuse(word, " takes a folder");
      o->bundle = next;
      o->first++;
    } else if (strcmp(word, "--") == 0) {
      o->first++;
      break;
    } else if (word[0] == '-' && word[1]) {
      return refuse(word, ": there is no such option");
    } else {
      break;
    }
  }
  return o->first < count ? 0 : refuse("", "name a picture");
}

/* Length of the character of UTF-8 that a text begins with; 0 where it is none. */
static size_t measure(const unsigned char *text) {
  static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
  size_t bytes = *text < 0x80 ? 1 : *text < 0xc2 ? 0 : *text < 0xe0 ? 2 : *text < 0xf0 ? 3
                 : *text < 0xf5 ? 4 : 0;
  unsigned code = bytes > 1 ? *text & (0xffu >> (bytes + 1)) : *text;
  for (size_t i = 1; i < bytes; i++) {
    if ((text[i] & 0xc0) != 0x80) return 0;
    code = code << 6 | (text[i] & 0x3f);
  }
  bool surrogate = code >= 0xd800 && code < 0xe000;
  return bytes && code >= least[bytes] && code < 0x110000 && !surrogate ? bytes : 0;
}

/* Write a text without what would move the cursor; in JSON what is no UTF-8 is as Python has it. */
static void print_text(FILE *file, const char *text, bool json) {
  const unsigned char *place = (const unsigned char *)text;
  while (*place) {
    size_t bytes = measure(place);
    bool control = *place < 0x20 || *place == 0x7f || (bytes == 2 && *place == 0xc2 &&
                                                       place[1] < 0xa0);
    if (json && (*place == '"' || *place == '\\')) (void)fprintf(file, "\\%c", *place);
    else if (bytes == 0) (void)fprintf(file, json ? "\\udc%02x" : "\\x%02x", *place);
    else if (control)
      (void)fprintf(file, json ? "\\u%04x" : "\\x%02x", bytes == 2 ? place[1] : *place);
    else (void)fwrite(place, 1, bytes, file);
    place += bytes ? bytes : 1;
  }
}

static void note(const char *text) {
  (void)fputs("classify: ", stderr);
  print_text(stderr, text, false);
  (void)fputc('\n', stderr);
}

static void print_class(const struct state *s, const char *path, bool json, size_t number,
                        double share, bool first) {
  const char *label = fp_label(s->bundle, number);
  if (json) {
    (void)printf("%s{\"class\": %zu, \"label\": \"", first ? "" : ", ", number);
    print_text(stdout, label, true);
    (void)printf("\", \"share\": %.6f}", share);
  } else {
    print_text(stdout, path, false);
    (void)printf(": %5.1f %%  ", 100 * share);
    print_text(stdout, label, false);
    (void)putchar('\n');
  }
}

/* Print the best classes; equal ones in their own order. */
static void print_answer(const struct state *s, const char *path, bool json) {
  size_t classes = fr_output(s->model)->elements, shown = 0, best[MOST_SHOWN];
  for (size_t i = 0; i < classes; i++) {
    size_t place = shown < MOST_SHOWN ? shown++ : MOST_SHOWN;
    for (; place > 0 && s->logits[i] > s->logits[best[place - 1]]; place--)
      if (place < MOST_SHOWN) best[place] = best[place - 1];
    if (place < MOST_SHOWN) best[place] = i;
  }
  double sum = 0;
  for (size_t i = 0; i < classes; i++) sum += exp((double)s->logits[i] - s->logits[best[0]]);
  if (json) {
    (void)fputs("{\"picture\": \"", stdout);
    print_text(stdout, path, true);
    (void)fputs("\", \"classes\": [", stdout);
  }
  for (size_t i = 0; i < shown; i++)
    print_class(s, path, json, best[i],
                exp((double)s->logits[best[i]] - s->logits[best[0]]) / sum, i == 0);
  if (json) (void)puts("]}");
}

static bool classify(const struct state *s, const char *path, bool json, char *why) {
  unsigned marks = 0;
  if (fp_read(s->bundle, path, fr_input(s->model), s->input, &marks, why) != FR_OK ||
      fr_run(s->model, s->input, s->logits, why) != FR_OK)
    return false;
  for (size_t i = 0; i < fr_output(s->model)->elements; i++) {
    if (isfinite(s->logits[i])) continue;
    (void)snprintf(why, FR_MESSAGE_BYTES, "%.300s: the model's answer is not finite", path);
    return false;
  }
  char text[FR_MESSAGE_BYTES];
  static const char *const said[] = {
      "it has more than 8 bits per channel; scaled to 8",
      "it is transparent in places; behind them lies the background of settings.txt",
      "no value is above 1/8 of full scale: 10 or 12 bits in 16? Scale its values to 16 bits"};
  for (unsigned i = 0; i < sizeof said / sizeof *said; i++) {
    if (!(marks >> i & 1)) continue;
    (void)snprintf(text, sizeof text, "%.300s: note: %s", path, said[i]);
    note(text);
  }
  print_answer(s, path, json);
  return true;
}

static bool load(struct state *s, const struct options *o, char *why) {
  if (fp_open(o->bundle, &s->bundle, why) != FR_OK) return false;
  struct fr_settings settings = {.threads = o->threads ? o->threads : fp_threads(s->bundle)};
  if (fr_open(fp_model(s->bundle), &settings, &s->model, why) != FR_OK) return false;
  if (fr_facts(s->model).note) note(fr_facts(s->model).note);
  size_t classes = fr_output(s->model)->elements;
  if (classes != fp_classes(s->bundle)) {
    (void)snprintf(why, FR_MESSAGE_BYTES,
                   "labels.txt has %zu labels, the model %zu classes; copy the bundle again",
                   fp_classes(s->bundle), classes);
    return false;
  }
  s->input = malloc(4 * fr_input(s->model)->elements), s->logits = malloc(4 * classes);
  return s->input && s->logits;
}

int main(int count, char **words) {
  struct options options = {.bundle = "."};
  struct state state = {.bundle = NULL};
  char why[FR_MESSAGE_BYTES] = "no memory";
  int last = count - 1, failed = 0;
  if (count > 1 && (strcmp(words[last], "--help") == 0 || strcmp(words[last], "-h") == 0))
    return fputs(HELP, stdout) < 0;
  int code = read_options(count, words, &options);
  if (code) return code;
  if (!load(&state, &options, why)) {
    note(why);
    failed = 1;
  } else {
    for (int i = options.first; i < count; i++) {
      if (!classify(&state, words[i], options.json, why)) {
        note(why);
        failed = 1;
      }
      if (fflush(stdout) != 0) {
        note("the answer cannot be written");
        failed = 1;
        break;
      }
    }
  }
  fr_close(state.model);
  fp_close(state.bundle);
  free(state.input);
  free(state.logits);
  return failed;
}
