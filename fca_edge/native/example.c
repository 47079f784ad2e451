/* Prints what a picture shows: example BUNDLE PICTURE; README.md says how it is compiled. */
#include <stdio.h>
#include <stdlib.h>
#include "fca_picture.h"

int main(int count, char **words) {
  char why[FR_MESSAGE_BYTES] = "usage: example BUNDLE PICTURE";
  struct fp_bundle *bundle;
  struct fr_model *model;
  struct fr_settings settings = {.threads = 4};
  if (count != 3 || fp_open(words[1], &bundle, why) != FR_OK) return puts(why), 1;
  if (fr_open(fp_model(bundle), &settings, &model, why) != FR_OK) return puts(why), 1;
  size_t classes = fr_output(model)->elements, best = 0;
  float *image = malloc(4 * fr_input(model)->elements), *logits = malloc(4 * classes);
  if (fp_read(bundle, words[2], fr_input(model), image, NULL, why) != FR_OK ||
      fr_run(model, image, logits, why) != FR_OK) return puts(why), 1;
  for (size_t i = 1; i < classes; i++)
    if (logits[i] > logits[best]) best = i;
  puts(fp_label(bundle, best));
}
