#include "pixels.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_SIDE 65535
#define MOST_PIXELS ((size_t)1 << 26)

static bool refuse(char *why, const char *text) {
  (void)snprintf(why, FR_MESSAGE_BYTES, "%s", text);
  return false;
}

bool fp_admits(size_t width, size_t height, char *why) {
  if (width == 0 || height == 0) return refuse(why, "it has no pixels");
  if (width <= MOST_SIDE && height <= MOST_SIDE && width * height <= MOST_PIXELS) return true;
  (void)snprintf(why, FR_MESSAGE_BYTES,
                 "%zu x %zu pixels are too many; a side may have %d, and all %zu million", width,
                 height, MOST_SIDE, MOST_PIXELS >> 20);
  return false;
}

/* The next number of a PPM's header; comments go to the end of their line. */
static bool read_number(FILE *file, size_t *number) {
  int c = getc(file);
  while (isspace(c) || c == '#') {
    if (c == '#')
      while (c != '\n' && c != '\r' && c != EOF) c = getc(file);
    else c = getc(file);
  }
  size_t digits = 0;
  for (*number = 0; isdigit(c) && digits < 9; digits++, c = getc(file))
    *number = *number * 10 + (size_t)(c - '0');
  return digits > 0 && isspace(c);
}

static uint8_t scale(size_t value, size_t most) {
  double scaled = rint((double)value / (double)most * 255);
  return scaled < 255 ? (uint8_t)scaled : 255;
}

static bool decode_ppm(FILE *file, struct fp_pixels *pixels, char *why) {
  size_t most;
  if (!read_number(file, &pixels->width) || !read_number(file, &pixels->height) ||
      !read_number(file, &most) || most == 0 || most > 65535)
    return refuse(why, "its header is no PPM's");
  if (!fp_admits(pixels->width, pixels->height, why)) return false;
  size_t count = 3 * pixels->width * pixels->height;
  pixels->rgb = malloc(count);
  if (!pixels->rgb) return refuse(why, "no memory");
  if (most <= 255) {
    if (fread(pixels->rgb, 1, count, file) != count) return refuse(why, "it is cut");
    for (size_t i = 0; most < 255 && i < count; i++) pixels->rgb[i] = scale(pixels->rgb[i], most);
    return true;
  }
  pixels->marks |= FP_DEEP;
  for (size_t i = 0; i < count; i++) {
    int high = getc(file), low = getc(file);
    if (low == EOF) return refuse(why, "it is cut");
    pixels->rgb[i] = scale((size_t)high << 8 | (size_t)low, most);
  }
  return true;
}

bool fp_decode(FILE *file, const struct fp_reading *reading, struct fp_pixels *pixels, char *why) {
  static const char remedy[] = "neither PNG nor PPM (P6) nor .npy; convert it";
  char text[FR_MESSAGE_BYTES];
  *pixels = (struct fp_pixels){.rgb = NULL};
  int first = getc(file);
  bool done = false;
  if (first == EOF) {
    done = refuse(why, ferror(file) ? strerror(errno) : "it is empty");
  } else if (first == 0x89) {
    (void)ungetc(first, file);
    done = fp_decode_png(file, reading, pixels, why);
  } else if (first == 'P' && getc(file) == '6') {
    done = decode_ppm(file, pixels, why);
  } else {
    (void)snprintf(text, sizeof text, "%s%s", first == 0xff ? "a JPEG perhaps, " : "", remedy);
    done = refuse(why, text);
  }
  if (!done) {
    free(pixels->rgb);
    pixels->rgb = NULL;
  }
  return done;
}
