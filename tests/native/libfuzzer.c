/* Opens and runs whatever libFuzzer makes of a model: nothing may crash, leak or be read that is
 * not there. See coverage.py. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fca_run.h"

/* A file that says it wants more would only be slow. */
enum { MOST_ELEMENTS = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int file = -1;
  char place[64], why[FR_MESSAGE_BYTES];
  struct fr_model *model = NULL;
  struct fr_settings settings = {.threads = 1, .no_cache = true, .profile = true};
  if (file < 0) file = memfd_create("model", 0);
  if (file < 0 || ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != (ssize_t)size) abort();
  (void)snprintf(place, sizeof place, "/proc/self/fd/%d", file);
  if (fr_open(place, &settings, &model, why) != FR_OK) {
    if (model || !why[0]) abort();
    return 0;
  }
  size_t inputs = fr_input(model)->elements, outputs = fr_output(model)->elements;
  if (inputs <= MOST_ELEMENTS && outputs <= MOST_ELEMENTS) {
    float *in = calloc(inputs, 4), *out = calloc(outputs, 4);
    if (in && out) (void)fr_run(model, in, out, why);
    free(in);
    free(out);
  }
  fr_close(model);
  return 0;
}
