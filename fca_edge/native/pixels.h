/* From a picture file to 8-bit RGB, and to the part of it that a model sees. */
#ifndef FCA_PIXELS_H
#define FCA_PIXELS_H

#include <stdio.h>

#include "fca_picture.h"

struct fp_pixels {
  uint8_t *rgb; /* height x width x 3 */
  size_t width, height;
  unsigned marks;
};

/* How pictures are turned into 8-bit RGB. */
struct fp_reading {
  bool upright;          /* turn by the EXIF orientation */
  bool drop_alpha;       /* else the background lies behind it */
  uint8_t background[3]; /* red, green, blue */
};

/* How they are resized and cut; a `resize[1]` of 0 makes `resize[0]` that of the short side. */
struct fp_fit {
  size_t resize[2], crop[2]; /* height, width */
  const struct fp_kernel *kernel;
};

/* Read a PNG or PPM. False says why not in a few words; nothing is left then. */
bool fp_decode(FILE *file, const struct fp_reading *reading, struct fp_pixels *pixels, char *why);
bool fp_decode_png(FILE *file, const struct fp_reading *reading, struct fp_pixels *pixels,
                   char *why);
/* Whether pictures of these sides are read; says so if not. */
bool fp_admits(size_t width, size_t height, char *why);
/* The filter of a name, NULL if there is none. */
const struct fp_kernel *fp_find_kernel(const char *name);
/* Resize and cut the centre out, crop[0] x crop[1] x 3; the same pixels as Pillow's. */
bool fp_fit(const struct fp_pixels *pixels, const struct fp_fit *fit, uint8_t *rgb);

#endif
