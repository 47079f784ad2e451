#define _GNU_SOURCE
#include "arrays.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool say(char *why, const char *path, const char *text) {
  (void)snprintf(why, FR_MESSAGE_BYTES, "%.300s: %.200s", path, text);
  return false;
}

static bool has_suffix(const char *path, const char *suffix) {
  size_t length = strlen(path), wanted = strlen(suffix);
  return length > wanted && strcmp(path + length - wanted, suffix) == 0;
}

/* The axes of an array of float32 in C order, as the header's text has them. */
static bool read_axes(const char *text, struct fr_shape *shape) {
  const char *place = strstr(text, "'shape':");
  shape->rank = 0, shape->elements = 1;
  if (!strstr(text, "'descr': '<f4'") || !strstr(text, "'fortran_order': False") || !place)
    return false;
  place = strchr(place, '(');
  while (place && *place && *place != ')') {
    if (!isdigit((unsigned char)*place)) {
      place++;
      continue;
    }
    char *end;
    unsigned long size = strtoul(place, &end, 10);
    if (size == 0 || shape->rank == FR_MOST_AXES || size > INT32_MAX / shape->elements)
      return false;
    shape->sizes[shape->rank++] = size;
    shape->elements *= size;
    place = end;
  }
  return place && *place == ')';
}

static bool read_header(FILE *file, struct fr_shape *shape) {
  unsigned char start[12];
  char text[1025];
  if (fread(start, 1, 10, file) != 10 || memcmp(start, "\x93NUMPY", 6) != 0) return false;
  size_t bytes = (size_t)start[8] | (size_t)start[9] << 8;
  if (start[6] > 1) {
    if (fread(start + 10, 1, 2, file) != 2) return false;
    bytes |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
  }
  if (bytes >= sizeof text || fread(text, 1, bytes, file) != bytes) return false;
  text[bytes] = '\0';
  return read_axes(text, shape);
}

/* The model's shape, or several inputs along its first axis. */
static bool fits(const struct fr_shape *array, const struct fr_shape *model) {
  if (array->rank != model->rank || model->rank == 0) return false;
  for (size_t i = 1; i < model->rank; i++)
    if (array->sizes[i] != model->sizes[i]) return false;
  return array->sizes[0] % model->sizes[0] == 0;
}

static size_t write_shape(char *text, size_t room, const struct fr_shape *shape) {
  size_t used = 0;
  for (size_t i = 0; i < shape->rank && used < room; i++)
    used += (size_t)snprintf(text + used, room - used, i ? " x %zu" : "%zu", shape->sizes[i]);
  return used;
}

bool fr_inputs_open(struct fr_reader *reader, const char *path, const struct fr_shape *shape,
                    char *why) {
  struct fr_shape array = {.rank = 0};
  char text[FR_MESSAGE_BYTES] = "it is no float32 array in C order; the model takes ";
  reader->file = fopen(path, "rbe");
  if (!reader->file) return say(why, path, strerror(errno));
  if (has_suffix(path, ".npy")) {
    bool whole = read_header(reader->file, &array);
    if (whole && fits(&array, shape)) {
      reader->count = array.elements / shape->elements;
      return true;
    }
    if (whole) (void)snprintf(text, sizeof text, "its shape does not fit; the model takes ");
    size_t used = strlen(text);
    (void)write_shape(text + used, sizeof text - used, shape);
  } else {
    (void)fseek(reader->file, 0, SEEK_END);
    long bytes = ftell(reader->file);
    (void)fseek(reader->file, 0, SEEK_SET);
    reader->count = bytes < 0 ? 0 : (size_t)bytes / (4 * shape->elements);
    if (reader->count > 0 && (size_t)bytes % (4 * shape->elements) == 0) return true;
    (void)snprintf(text, sizeof text, "it has %ld bytes; the model takes %zu float32", bytes,
                   shape->elements);
  }
  (void)fclose(reader->file);
  reader->file = NULL;
  return say(why, path, text);
}

static uint32_t crc32(uint32_t crc, const uint8_t *data, size_t size) {
  static uint32_t table[256];
  for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
    uint32_t bits = i;
    for (int k = 0; k < 8; k++) bits = (bits >> 1) ^ (bits & 1 ? 0xEDB88320u : 0);
    table[i] = bits;
  }
  crc = ~crc;
  for (size_t i = 0; i < size; i++) crc = table[(crc ^ data[i]) & 255] ^ (crc >> 8);
  return ~crc;
}

static void put(uint8_t *place, uint32_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) place[i] = (uint8_t)(value >> (8 * i));
}

/* What stands around one member that is stored as it is: "logits.npy". */
static size_t make_member(uint8_t *out, bool central, uint32_t crc, uint32_t size) {
  static const char name[] = "logits.npy";
  const size_t start = central ? 46 : 30, shift = central ? 2 : 0, length = sizeof name - 1;
  memset(out, 0, start);
  memcpy(out, central ? "PK\1\2" : "PK\3\4", 4);
  put(out + 4, 20, 2);
  if (central) put(out + 6, 20, 2);
  put(out + 12 + shift, 33, 2); /* the first day of 1980 */
  put(out + 14 + shift, crc, 4);
  put(out + 18 + shift, size, 4);
  put(out + 22 + shift, size, 4);
  put(out + 26 + shift, (uint32_t)length, 2);
  memcpy(out + start, name, length);
  return start + length;
}

/* A NumPy header of 128 bytes for rows of a model's output. */
static void write_head(char *head, size_t rows, const struct fr_shape *shape) {
  char sizes[96];
  size_t used = 0;
  if (shape->rank < 2) used = (size_t)snprintf(sizes, sizeof sizes, "%zu", shape->elements);
  for (size_t i = 1; i < shape->rank && used < sizeof sizes; i++)
    used += (size_t)snprintf(sizes + used, sizeof sizes - used, i > 1 ? ", %zu" : "%zu",
                             shape->sizes[i]);
  memset(head, ' ', 128);
  memcpy(head, "\x93NUMPY\1\0\x76\0", 10);
  int length = snprintf(head + 10, 117, "{'descr':'<f4','fortran_order':False,'shape':(%zu, %.64s)}",
                        rows, sizes);
  head[10 + length] = ' ', head[127] = '\n';
}

static bool write_array(FILE *file, const float *values, size_t rows, const struct fr_shape *shape,
                        bool packed) {
  char head[128];
  uint8_t around[80], end[22] = {'P', 'K', 5, 6};
  write_head(head, rows, shape);
  size_t bytes = 4 * rows * fr_row(shape), size = sizeof head + bytes;
  if (packed) {
    uint32_t crc = crc32(crc32(0, (const uint8_t *)head, sizeof head), (const uint8_t *)values,
                         bytes);
    size_t local = make_member(around, false, crc, (uint32_t)size);
    if (fwrite(around, 1, local, file) != local) return false;
    if (fwrite(head, 1, sizeof head, file) != sizeof head) return false;
    if (fwrite(values, 1, bytes, file) != bytes) return false;
    size_t central = make_member(around, true, crc, (uint32_t)size);
    put(end + 8, 1, 2), put(end + 10, 1, 2);
    put(end + 12, (uint32_t)central, 4), put(end + 16, (uint32_t)(local + size), 4);
    return fwrite(around, 1, central, file) == central &&
           fwrite(end, 1, sizeof end, file) == sizeof end;
  }
  return fwrite(head, 1, sizeof head, file) == sizeof head &&
         fwrite(values, 1, bytes, file) == bytes;
}

size_t fr_row(const struct fr_shape *shape) {
  return shape->rank > 1 ? shape->elements / shape->sizes[0] : shape->elements;
}

bool fr_outputs_write(const char *path, const float *values, size_t rows,
                      const struct fr_shape *shape, char *why) {
  size_t row = fr_row(shape);
  char staged[4200];
  int length = snprintf(staged, sizeof staged, "%s.%ld.part", path, (long)getpid());
  if (length < 0 || (size_t)length >= sizeof staged) return say(why, path, "is too long a name");
  FILE *file = fopen(staged, "wbxe");
  if (!file) return say(why, path, strerror(errno));
  bool done = has_suffix(path, ".npy") || has_suffix(path, ".npz")
                  ? write_array(file, values, rows, shape, has_suffix(path, ".npz"))
                  : fwrite(values, 4, rows * row, file) == rows * row;
  done = fflush(file) == 0 && done;
  int trouble = errno;
  done = fclose(file) == 0 && done && rename(staged, path) == 0;
  if (!done) {
    (void)unlink(staged);
    return say(why, path, trouble ? strerror(trouble) : "cannot be written");
  }
  return true;
}
