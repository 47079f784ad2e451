/* A bundle's settings.txt and labels.txt, and pictures read as they say. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"
#include "pixels.h"

#define MOST_TEXT ((size_t)64 << 20)
#define MOST_SIDE 8192

struct fp_bundle {
  char *model;
  size_t threads;
  struct fp_reading reading;
  struct fp_fit fit;
  float mean[3], std[3];
  bool blue_first, channels_first;
  char *text; /* of the labels, which lie in it */
  const char **labels;
  size_t classes;
};

static enum fr_status say(char *why, enum fr_status status, const char *path, const char *text) {
  (void)snprintf(why, FR_MESSAGE_BYTES, "%.300s: %.200s", path, text);
  return status;
}

/* The whole of a text file, with a final zero; NULL says why not. */
static char *read_text(const char *path, char *why) {
  FILE *file = fopen(path, "rbe");
  char *text = NULL;
  size_t size = 0, room = 0;
  while (file && !feof(file) && !ferror(file) && size < MOST_TEXT) {
    if (room - size < 2) {
      char *more = realloc(text, room += room + 4096);
      if (!more) break;
      text = more;
    }
    size += fread(text + size, 1, room - size - 1, file);
  }
  bool whole = file && feof(file) && !ferror(file);
  if (!whole) {
    (void)say(why, FR_SYSTEM, path, size < MOST_TEXT && errno ? strerror(errno) : "is too long");
    free(text);
    text = NULL;
  } else {
    text[size] = '\0';
  }
  if (file) (void)fclose(file);
  return text;
}

/* As many numbers as stand in a text; 0 where something else does. */
static size_t read_numbers(const char *text, double *numbers, size_t most, double low,
                           double high) {
  for (size_t count = 0; count < most; count++) {
    char *end;
    numbers[count] = strtod(text, &end);
    if (end == text || !(numbers[count] >= low && numbers[count] <= high)) return 0;
    text = end + strspn(end, " ");
    if (!*text) return count + 1;
  }
  return 0;
}

static bool read_sizes(const char *text, size_t *sizes, size_t most, double high) {
  double numbers[2] = {0, 0};
  size_t count = read_numbers(text, numbers, most, 1, high);
  for (size_t i = 0; i < count; i++)
    if (numbers[i] != floor(numbers[i])) return false;
  sizes[0] = (size_t)numbers[0];
  if (most > 1) sizes[1] = (size_t)numbers[1];
  return count > 0;
}

static bool read_three(const char *text, float *values, double low) {
  double numbers[3];
  if (read_numbers(text, numbers, 3, low, 1e6) != 3) return false;
  for (size_t i = 0; i < 3; i++) values[i] = (float)numbers[i];
  return true;
}

static bool read_background(const char *text, struct fp_reading *reading) {
  float levels[3];
  reading->drop_alpha = strcmp(text, "none") == 0;
  if (reading->drop_alpha) return true;
  bool done = read_three(text, levels, 0);
  for (size_t i = 0; done && i < 3; i++) {
    done = levels[i] <= 255 && levels[i] == floorf(levels[i]);
    if (done) reading->background[i] = (uint8_t)levels[i];
  }
  return done;
}

/* One of two words. */
static bool read_word(const char *text, const char *yes, const char *no, bool *value) {
  *value = strcmp(text, yes) == 0;
  return *value || strcmp(text, no) == 0;
}

static const char *const KEYS[] = {"model",  "threads",       "exif", "background",
                                   "resize", "interpolation", "crop", "mean",
                                   "std",    "channels",      "input"};
enum { KEY_COUNT = sizeof KEYS / sizeof *KEYS };

static bool take(struct fp_bundle *b, size_t key, const char *text, const char *folder) {
  switch (key) {
    case 0: {
      if (!*text || strchr(text, '/')) return false;
      int length = asprintf(&b->model, "%s/%s", folder, text);
      if (length < 0) b->model = NULL;
      return b->model;
    }
    case 1: return read_sizes(text, &b->threads, 1, 1024);
    case 2: return read_word(text, "apply", "ignore", &b->reading.upright);
    case 3: return read_background(text, &b->reading);
    case 4: return read_sizes(text, b->fit.resize, 2, MOST_SIDE);
    case 5: return (b->fit.kernel = fp_find_kernel(text)) != NULL;
    case 6: return read_sizes(text, b->fit.crop, 2, MOST_SIDE) && b->fit.crop[1];
    case 7: return read_three(text, b->mean, -1e6);
    case 8: return read_three(text, b->std, 1e-30);
    case 9: return read_word(text, "BGR", "RGB", &b->blue_first);
    default: return read_word(text, "nchw", "nhwc", &b->channels_first);
  }
}

/* Cut a text at its first line's end; returns what comes after, NULL at the last. */
static char *cut_line(char *text) {
  char *end = strchr(text, '\n');
  if (end) *end = '\0';
  size_t length = strlen(text);
  if (length && text[length - 1] == '\r') text[length - 1] = '\0';
  return end ? end + 1 : NULL;
}

static bool read_settings(struct fp_bundle *b, char *text, const char *folder, char *wrong) {
  bool seen[KEY_COUNT] = {false};
  for (char *line = text, *next; line; line = next) {
    next = cut_line(line);
    if (!*line || *line == '#') continue;
    char *value = line + strcspn(line, " ");
    if (*value) *value++ = '\0';
    size_t key = 0;
    while (key < KEY_COUNT && strcmp(KEYS[key], line) != 0) key++;
    bool known = key < KEY_COUNT && !seen[key];
    if (!known || !take(b, key, value, folder)) {
      (void)snprintf(wrong, FR_MESSAGE_BYTES, known ? "'%.40s' has a wrong value" :
                     "'%.40s' is not known, or there twice", line);
      return false;
    }
    seen[key] = true;
  }
  for (size_t key = 0; key < KEY_COUNT; key++) {
    if (seen[key]) continue;
    (void)snprintf(wrong, FR_MESSAGE_BYTES, "'%s' is missing", KEYS[key]);
    return false;
  }
  size_t across = b->fit.resize[b->fit.resize[1] ? 1 : 0];
  if (b->fit.resize[0] >= b->fit.crop[0] && across >= b->fit.crop[1]) return true;
  (void)snprintf(wrong, FR_MESSAGE_BYTES, "'resize' is below 'crop'");
  return false;
}

static bool read_labels(struct fp_bundle *b) {
  for (const char *c = b->text; *c; c++) b->classes += *c == '\n';
  b->labels = calloc(b->classes + 1, sizeof *b->labels);
  if (!b->labels) return false;
  char *line = b->text;
  for (size_t i = 0; i < b->classes; i++) {
    b->labels[i] = line;
    line = cut_line(line);
  }
  return true;
}

static enum fr_status fill(struct fp_bundle *b, const char *folder, char *why) {
  char path[4096], wrong[FR_MESSAGE_BYTES] = "";
  if (strlen(folder) > sizeof path - 20)
    return say(why, FR_BAD_ARGUMENT, folder, "is too long a name");
  (void)snprintf(path, sizeof path, "%s/settings.txt", folder);
  char *text = read_text(path, why);
  if (!text) return FR_SYSTEM;
  bool done = read_settings(b, text, folder, wrong);
  free(text);
  if (!done) return say(why, FR_BAD_FILE, path, wrong);
  (void)snprintf(path, sizeof path, "%s/labels.txt", folder);
  b->text = read_text(path, why);
  if (!b->text) return FR_SYSTEM;
  return read_labels(b) ? FR_OK : say(why, FR_SYSTEM, path, "no memory");
}

enum fr_status fp_open(const char *folder, struct fp_bundle **bundle, char *why) {
  *bundle = NULL;
  struct fp_bundle *b = calloc(1, sizeof *b);
  enum fr_status status = b ? fill(b, folder, why) : say(why, FR_SYSTEM, folder, "no memory");
  if (status == FR_OK) *bundle = b;
  else fp_close(b);
  return status;
}

void fp_close(struct fp_bundle *b) {
  if (!b) return;
  free(b->model);
  free(b->labels);
  free(b->text);
  free(b);
}

const char *fp_model(const struct fp_bundle *b) { return b->model; }

size_t fp_threads(const struct fp_bundle *b) { return b->threads; }

size_t fp_classes(const struct fp_bundle *b) { return b->classes; }

const char *fp_label(const struct fp_bundle *b, size_t number) {
  return number < b->classes ? b->labels[number] : "";
}

static void normalise(const struct fp_bundle *b, const uint8_t *rgb, float *input) {
  size_t pixels = b->fit.crop[0] * b->fit.crop[1];
  for (size_t i = 0; i < pixels; i++) {
    for (size_t c = 0; c < 3; c++) {
      float share = (float)rgb[3 * i + (b->blue_first ? 2 - c : c)] / 255;
      input[b->channels_first ? c * pixels + i : 3 * i + c] = (share - b->mean[c]) / b->std[c];
    }
  }
}

static enum fr_status read_picture(const struct fp_bundle *b, const char *path, float *input,
                                   unsigned *marks, char *why) {
  char text[FR_MESSAGE_BYTES] = "";
  struct fp_pixels pixels;
  FILE *file = fopen(path, "rbe");
  if (!file) return say(why, FR_SYSTEM, path, strerror(errno));
  bool done = fp_decode(file, &b->reading, &pixels, text);
  (void)fclose(file);
  if (!done) return say(why, FR_BAD_FILE, path, text);
  if (marks) *marks = pixels.marks;
  uint8_t *rgb = malloc(3 * b->fit.crop[0] * b->fit.crop[1]);
  done = rgb && fp_fit(&pixels, &b->fit, rgb);
  if (done) normalise(b, rgb, input);
  free(rgb);
  free(pixels.rgb);
  return done ? FR_OK : say(why, FR_SYSTEM, path, "no memory");
}

static enum fr_status read_array(const char *path, const struct fr_shape *shape, float *input,
                                 char *why) {
  struct fr_reader reader;
  if (!fr_inputs_open(&reader, path, shape, why)) return FR_BAD_FILE;
  bool one = reader.count == 1;
  bool whole = one && fread(input, 4, shape->elements, reader.file) == shape->elements;
  (void)fclose(reader.file);
  if (whole) return FR_OK;
  return say(why, FR_BAD_FILE, path, one ? "is cut" : "holds several inputs; fca-run takes them");
}

enum fr_status fp_read(const struct fp_bundle *b, const char *path, const struct fr_shape *shape,
                       float *input, unsigned *marks, char *why) {
  const size_t *sizes = shape->sizes, place = b->channels_first ? 2 : 1;
  size_t length = strlen(path);
  if (marks) *marks = 0;
  if (length > 4 && strcmp(path + length - 4, ".npy") == 0)
    return read_array(path, shape, input, why);
  if (shape->rank != 4 || sizes[0] != 1 || sizes[b->channels_first ? 1 : 3] != 3 ||
      sizes[place] != b->fit.crop[0] || sizes[place + 1] != b->fit.crop[1])
    return say(why, FR_BAD_ARGUMENT, b->model, "takes no input of the size that settings.txt has");
  return read_picture(b, path, input, marks, why);
}
