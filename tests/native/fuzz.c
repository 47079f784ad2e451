/* Damages a model in memory again and again, opens and runs it: nothing may crash.
 *
 * usage: fuzz MODEL.tflite FOLDER SEED COUNT; the sanitizers that it is compiled with end it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fca_run.h"

static uint64_t state;

static uint64_t draw(uint64_t below) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (state >> 33) % below;
}

static void damage(unsigned char *data, size_t size) {
  static const uint32_t numbers[] = {0, 1, 2, 3, 4, 7, 0x7fffffff, 0x80000000, 0xffffffff, 0x10000};
  size_t count = 1 + draw(6);
  for (size_t i = 0; i < count; i++) {
    size_t place = draw(size - 8) & ~(size_t)3;
    /* Most of what a file says of its graph lies at one of its ends. */
    if (draw(4)) place = draw(2) ? place % 65536 % (size - 8) : size - 8 - place % 65536 % (size - 8);
    uint32_t number = numbers[draw(sizeof numbers / sizeof *numbers)];
    if (draw(2)) memcpy(data + place, &number, sizeof number);
    else data[place + draw(4)] ^= (unsigned char)(1u << draw(8));
  }
}

int main(int count, char **words) {
  char place[4096], why[FR_MESSAGE_BYTES];
  unsigned long opened = 0, runs = 0;
  if (count != 5) return 2;
  FILE *file = fopen(words[1], "rb");
  if (!file) return 2;
  (void)fseek(file, 0, SEEK_END);
  size_t size = (size_t)ftell(file);
  unsigned char *whole = malloc(size), *copy = malloc(size);
  rewind(file);
  if (!whole || !copy || fread(whole, 1, size, file) != size) return 2;
  (void)fclose(file);
  state = strtoull(words[3], NULL, 10);
  (void)snprintf(place, sizeof place, "%s/damaged.tflite", words[2]);
  for (unsigned long i = 0, all = strtoul(words[4], NULL, 10); i < all; i++) {
    struct fr_model *model = NULL;
    struct fr_settings settings = {.threads = 1, .no_cache = true};
    size_t cut = draw(8) ? size : 1 + draw(size);
    memcpy(copy, whole, size);
    damage(copy, size);
    file = fopen(place, "wb");
    if (!file || fwrite(copy, 1, cut, file) != cut || fclose(file) != 0) return 2;
    runs++;
    if (fr_open(place, &settings, &model, why) != FR_OK) {
      if (model || !why[0] || strchr(why, '\n')) return 3;
      continue;
    }
    opened++;
    float *in = calloc(fr_input(model)->elements, 4), *out = calloc(fr_output(model)->elements, 4);
    if (in && out) (void)fr_run(model, in, out, why);
    free(in);
    free(out);
    fr_close(model);
  }
  (void)printf("%lu damaged files, %lu of them opened\n", runs, opened);
  free(whole);
  free(copy);
  return 0;
}
