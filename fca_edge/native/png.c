/* PNG through libspng, in any depth and colour; what is in it is told as Pillow does. */
#include <math.h>
#include <spng.h>
#include <stdlib.h>
#include <string.h>

#include "pixels.h"

#define MOST_CHUNK ((size_t)16 << 20)
#define ORIENTATION 0x0112
/* A deep picture without any value above this may hold fewer bits than it says. */
#define DIM 32

static size_t get(const uint8_t *data, size_t bytes, bool big) {
  size_t value = 0;
  for (size_t i = 0; i < bytes; i++) value |= (size_t)data[i] << 8 * (big ? bytes - 1 - i : i);
  return value;
}

/* The orientation that a block of EXIF states, 1 where it states none. */
static size_t read_orientation(const uint8_t *data, size_t size) {
  if (size < 8) return 1;
  bool big = data[0] == 'M';
  if (memcmp(data, big ? "MM\0*" : "II*\0", 4) != 0) return 1;
  size_t place = get(data + 4, 4, big);
  if (place > size || size - place < 2) return 1;
  size_t count = get(data + place, 2, big);
  for (place += 2; count > 0 && size - place >= 12; count--, place += 12)
    if (get(data + place, 2, big) == ORIENTATION && get(data + place + 2, 2, big) == 3)
      return get(data + place + 8, 2, big);
  return 1;
}

/* Orientations 2 to 8 are made of three moves, of which each may be there or not. */
static bool turn(struct fp_pixels *p, size_t orientation) {
  if (orientation < 2 || orientation > 8) return true;
  bool swap = orientation >= 5, left = strchr("\2\3\7\10", (int)orientation),
       over = strchr("\3\4\6\7", (int)orientation);
  size_t width = swap ? p->height : p->width, height = swap ? p->width : p->height;
  uint8_t *rgb = malloc(3 * width * height), *out = rgb;
  if (!rgb) return false;
  for (size_t y = 0; y < height; y++) {
    for (size_t x = 0; x < width; x++, out += 3) {
      size_t a = swap ? y : x, b = swap ? x : y;
      if (left) a = p->width - 1 - a;
      if (over) b = p->height - 1 - b;
      memcpy(out, p->rgb + 3 * (b * p->width + a), 3);
    }
  }
  free(p->rgb);
  p->rgb = rgb, p->width = width, p->height = height;
  return true;
}

/* Turn four values of 16 bits into 8; grey alone is rounded, others are cut, as in Pillow. */
static void narrow(const uint16_t *in, const struct spng_ihdr *head, const struct spng_trns *key,
                   uint8_t *out) {
  bool grey = head->color_type == SPNG_COLOR_TYPE_GRAYSCALE;
  for (int i = 0; i < 4; i++)
    out[i] = grey ? (uint8_t)floor(in[i] * (255.0 / 65535.0) + 0.5) : (uint8_t)(in[i] >> 8);
  if (key)
    out[3] = out[0] == key->red >> 8 && out[1] == key->green >> 8 && out[2] == key->blue >> 8
                 ? 0
                 : 255;
}

static uint8_t blend(unsigned under, unsigned over, unsigned alpha) {
  unsigned sum = under * (255 - alpha) + over * alpha + 128;
  return (uint8_t)(((sum >> 8) + sum) >> 8);
}

/* Turn what was decoded into RGB, in its own place. */
static void flatten(struct fp_pixels *p, const struct spng_ihdr *head,
                    const struct spng_trns *key, const struct fp_reading *reading) {
  bool deep = head->bit_depth == 16, dim = deep;
  if (deep) p->marks |= FP_DEEP;
  for (size_t i = 0; i < p->width * p->height; i++) {
    uint8_t four[4];
    uint16_t wide[4];
    if (deep) {
      memcpy(wide, p->rgb + 8 * i, sizeof wide);
      narrow(wide, head, key, four);
    } else {
      memcpy(four, p->rgb + 4 * i, sizeof four);
    }
    if (four[3] != 255) p->marks |= FP_TRANSPARENT;
    dim = dim && four[0] < DIM && four[1] < DIM && four[2] < DIM;
    for (size_t c = 0; c < 3; c++)
      p->rgb[3 * i + c] =
          reading->drop_alpha ? four[c] : blend(reading->background[c], four[c], four[3]);
  }
  if (dim) p->marks |= FP_DIM;
}

static int decode(spng_ctx *png, struct spng_ihdr *head, const struct fp_reading *reading,
                  struct fp_pixels *p) {
  int format = head->bit_depth == 16 ? SPNG_FMT_RGBA16 : SPNG_FMT_RGBA8;
  struct spng_trns key;
  struct spng_exif exif;
  size_t size;
  /* Pillow compares a colour of 16 bits by its upper 8. */
  bool keyed = head->bit_depth == 16 && head->color_type == SPNG_COLOR_TYPE_TRUECOLOR &&
               spng_get_trns(png, &key) == 0;
  int fault = spng_decoded_image_size(png, format, &size);
  if (fault) return fault;
  p->rgb = malloc(size);
  if (!p->rgb) return SPNG_EMEM;
  fault = spng_decode_image(png, p->rgb, size, format, keyed ? 0 : SPNG_DECODE_TRNS);
  if (fault) return fault;
  flatten(p, head, keyed ? &key : NULL, reading);
  /* What comes after the pixels may be damaged, and they are whole. */
  (void)spng_decode_chunks(png);
  if (!reading->upright || spng_get_exif(png, &exif) != 0) return 0;
  return turn(p, read_orientation((const uint8_t *)exif.data, exif.length)) ? 0 : SPNG_EMEM;
}

bool fp_decode_png(FILE *file, const struct fp_reading *reading, struct fp_pixels *pixels,
                   char *why) {
  struct spng_ihdr head;
  spng_ctx *png = spng_ctx_new(0);
  int fault = png ? spng_set_png_file(png, file) : SPNG_EMEM;
  if (!fault) fault = spng_set_chunk_limits(png, MOST_CHUNK, 4 * MOST_CHUNK);
  if (!fault) fault = spng_get_ihdr(png, &head);
  bool admitted = fault || fp_admits(head.width, head.height, why);
  if (!fault && admitted) {
    pixels->width = head.width, pixels->height = head.height;
    fault = decode(png, &head, reading, pixels);
  }
  if (fault == SPNG_EMEM) (void)snprintf(why, FR_MESSAGE_BYTES, "no memory");
  else if (fault)
    (void)snprintf(why, FR_MESSAGE_BYTES, "it is no whole PNG: %.100s", spng_strerror(fault));
  spng_ctx_free(png);
  return !fault && admitted;
}
