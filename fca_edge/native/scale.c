/* Resizing with filters that grow with the step, in whole numbers, as Pillow has it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pixels.h"

#define BITS 22
static const double PI = 3.14159265358979323846;

struct fp_kernel {
  const char *name;
  double reach;
  double (*weigh)(double x);
};

static double sinc(double x) { return x == 0 ? 1 : sin(PI * x) / (PI * x); }

static double weigh_box(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }

static double weigh_bilinear(double x) { return fabs(x) < 1 ? 1 - fabs(x) : 0; }

static double weigh_hamming(double x) {
  if (fabs(x) >= 1) return 0;
  return x == 0 ? 1 : sinc(x) * (0.54 + 0.46 * cos(PI * x));
}

static double weigh_bicubic(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double weigh_lanczos(double x) { return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0; }

static const struct fp_kernel KERNELS[] = {
    {"box", 0.5, weigh_box},         {"bilinear", 1, weigh_bilinear},
    {"hamming", 1, weigh_hamming},   {"bicubic", 2, weigh_bicubic},
    {"lanczos", 3, weigh_lanczos},
};

const struct fp_kernel *fp_find_kernel(const char *name) {
  for (size_t i = 0; i < sizeof KERNELS / sizeof *KERNELS; i++)
    if (strcmp(KERNELS[i].name, name) == 0) return &KERNELS[i];
  return NULL;
}

/* For each pixel of the crop, along one axis: which pixels it is made of, with which weights. */
struct axis {
  size_t crop, most; /* pixels; weights of each */
  size_t *first, *count;
  int32_t *weights;
};

static void drop_axis(struct axis *a) {
  free(a->first);
  free(a->count);
  free(a->weights);
}

/* An axis of `side` pixels that would become `resized`, of which `crop` are wanted. */
static bool make_axis(struct axis *a, const struct fp_kernel *kernel, size_t side, double resized,
                      size_t crop) {
  double step = (double)side / resized, spread = step < 1 ? 1 : step;
  double reach = kernel->reach * spread, place = floor((resized - (double)crop) / 2);
  *a = (struct axis){.crop = crop, .most = (size_t)ceil(reach) * 2 + 1};
  a->first = calloc(crop, sizeof *a->first);
  a->count = calloc(crop, sizeof *a->count);
  a->weights = calloc(crop * a->most, sizeof *a->weights);
  double *exact = calloc(a->most, sizeof *exact);
  bool done = a->first && a->count && a->weights && exact;
  for (size_t i = 0; done && i < crop; i++) {
    double centre = (place + (double)i + 0.5) * step, sum = 0;
    double low = centre - reach + 0.5, high = centre + reach + 0.5;
    size_t first = low > 0 ? (size_t)low : 0;
    size_t last = high < (double)side ? (size_t)high : side, count = last - first;
    for (size_t k = 0; k < count; k++) {
      exact[k] = kernel->weigh(((double)(k + first) - centre + 0.5) * (1 / spread));
      sum += exact[k];
    }
    for (size_t k = 0; k < count; k++) {
      double share = (sum != 0 ? exact[k] / sum : exact[k]) * (1 << BITS);
      a->weights[i * a->most + k] = (int32_t)(share < 0 ? share - 0.5 : share + 0.5);
    }
    a->first[i] = first, a->count[i] = count;
  }
  free(exact);
  return done;
}

static uint8_t weigh(const struct axis *a, size_t i, const uint8_t *in, size_t stride) {
  const int32_t *weights = a->weights + i * a->most;
  int64_t sum = 1 << (BITS - 1);
  for (size_t k = 0; k < a->count[i]; k++) sum += (int64_t)weights[k] * in[k * stride];
  return sum < 0 ? 0 : sum >> BITS > 255 ? 255 : (uint8_t)(sum >> BITS);
}

/* Pixels in rows of `stride`, of which the first lie outside: `x` columns and `y` rows. */
struct part {
  const uint8_t *rgb;
  size_t stride, x, y;
};

static void resize_across(struct part in, const struct axis *a, size_t rows, uint8_t *out) {
  for (size_t y = 0; y < rows; y++)
    for (size_t i = 0; i < a->crop; i++)
      for (size_t c = 0; c < 3; c++)
        *out++ = weigh(a, i, in.rgb + (y * in.stride + a->first[i] - in.x) * 3 + c, 3);
}

static void resize_down(struct part in, const struct axis *a, size_t columns, uint8_t *out) {
  for (size_t i = 0; i < a->crop; i++)
    for (size_t x = 0; x < columns * 3; x++)
      *out++ = weigh(a, i, in.rgb + (a->first[i] - in.y) * in.stride * 3 + x, in.stride * 3);
}

static size_t count_needed(const struct axis *a) {
  return a->first[a->crop - 1] + a->count[a->crop - 1] - a->first[0];
}

/* What is between both steps is rounded, so that their order is seen. */
static bool resize(const struct fp_pixels *p, const struct axis *down, const struct axis *across,
                   bool down_first, uint8_t *rgb) {
  size_t rows = count_needed(down), columns = count_needed(across);
  uint8_t *between = malloc(3 * (down_first ? down->crop * columns : rows * across->crop));
  if (!between) return false;
  struct part in = {p->rgb, p->width, 0, 0};
  if (down_first) {
    in.rgb += 3 * across->first[0];
    resize_down(in, down, columns, between);
    resize_across((struct part){between, columns, across->first[0], 0}, across, down->crop, rgb);
  } else {
    in.rgb += 3 * down->first[0] * p->width;
    resize_across(in, across, rows, between);
    resize_down((struct part){between, across->crop, 0, down->first[0]}, down, across->crop, rgb);
  }
  free(between);
  return true;
}

bool fp_fit(const struct fp_pixels *p, const struct fp_fit *fit, uint8_t *rgb) {
  double height = (double)fit->resize[0], width = (double)fit->resize[1];
  if (fit->resize[1] == 0) {
    double scale = height / (double)(p->width < p->height ? p->width : p->height);
    height = fmax((double)fit->crop[0], rint((double)p->height * scale));
    width = fmax((double)fit->crop[1], rint((double)p->width * scale));
  }
  /* As Pillow 13 has it: rows first where twice as many of them go as columns do. */
  double fewer = (double)p->height - height, narrower = (double)p->width - width;
  bool down_first = fewer > 0 && fewer > 2 * narrower;
  struct axis down = {.crop = 0}, across = {.crop = 0};
  bool done = make_axis(&down, fit->kernel, p->height, height, fit->crop[0]) &&
              make_axis(&across, fit->kernel, p->width, width, fit->crop[1]) &&
              resize(p, &down, &across, down_first, rgb);
  drop_axis(&down);
  drop_axis(&across);
  return done;
}
