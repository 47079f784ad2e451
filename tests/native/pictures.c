/* Reads pictures as a bundle's input, whole or damaged.
 *
 * usage: pictures BUNDLE SIDE OUT PICTURE...        writes inputs of SIDE x SIDE x 3, one by one
 *        pictures BUNDLE SIDE --fuzz SEED COUNT OUT PICTURE...   reads damaged copies: no crash
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fca_picture.h"

static uint64_t state;

static uint64_t draw(uint64_t below) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (state >> 33) % below;
}

static uint32_t compute_crc(const unsigned char *data, size_t size) {
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < size; i++) {
    crc ^= data[i];
    for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

/* Make the checksums of a PNG right, so that what lies behind them is reached. */
static void mend(unsigned char *data, size_t size) {
  size_t place = 8;
  while (size > 12 && place <= size - 12) {
    size_t bytes = (size_t)data[place] << 24 | (size_t)data[place + 1] << 16 |
                   (size_t)data[place + 2] << 8 | data[place + 3];
    if (bytes > size - 12 - place) return;
    uint32_t crc = compute_crc(data + place + 4, bytes + 4);
    for (size_t i = 0; i < 4; i++) data[place + 8 + bytes + i] = (unsigned char)(crc >> (24 - 8 * i));
    place += 12 + bytes;
  }
}

static size_t damage(unsigned char *data, size_t size) {
  for (size_t i = 0, count = draw(6); i < count; i++) {
    size_t place = draw(2) ? draw(size) : draw(size < 64 ? size : 64);
    data[place] = (unsigned char)(draw(3) ? data[place] ^ 1u << draw(8) : draw(2) ? 0xff : 0);
  }
  if (size > 8 && data[0] == 0x89 && draw(4)) mend(data, size);
  return draw(6) ? size : draw(size + 1);
}

static int fuzz(struct fp_bundle *bundle, const struct fr_shape *shape, float *input, int count,
                char **words) {
  char why[FR_MESSAGE_BYTES];
  unsigned long reads = 0;
  unsigned char *copy = malloc(1 << 20), *whole = malloc(1 << 20);
  state = strtoull(words[0], NULL, 10);
  for (unsigned long i = 0, all = strtoul(words[1], NULL, 10); i < all; i++) {
    const char *from = words[3 + draw((uint64_t)count - 3)];
    FILE *file = fopen(from, "rb");
    size_t size = file ? fread(whole, 1, 1 << 20, file) : 0;
    if (!size || fclose(file) != 0) return 2;
    memcpy(copy, whole, size);
    size_t left = damage(copy, size);
    file = fopen(words[2], "wb");
    if (!file || fwrite(copy, 1, left, file) != left || fclose(file) != 0) return 2;
    why[0] = '\0';
    if (fp_read(bundle, words[2], shape, input, NULL, why) == FR_OK) reads++;
    else if (!why[0] || strchr(why, '\n')) return 3;
  }
  (void)printf("%s damaged files, %lu of them read\n", words[1], reads);
  free(copy);
  free(whole);
  return 0;
}

int main(int count, char **words) {
  char why[FR_MESSAGE_BYTES];
  struct fp_bundle *bundle;
  if (count < 5) return 2;
  if (fp_open(words[1], &bundle, why) != FR_OK) return puts(why), 2;
  size_t side = strtoul(words[2], NULL, 10);
  struct fr_shape shape = {.rank = 4, .sizes = {1, side, side, 3}, .elements = side * side * 3};
  float *input = calloc(shape.elements, sizeof *input);
  int code = 0;
  if (strcmp(words[3], "--fuzz") == 0) {
    code = fuzz(bundle, &shape, input, count - 4, words + 4);
  } else {
    FILE *out = fopen(words[3], "wb");
    for (int i = 4; out && i < count; i++) {
      if (fp_read(bundle, words[i], &shape, input, NULL, why) != FR_OK) puts(why), code = 1;
      else (void)fwrite(input, sizeof *input, shape.elements, out);
    }
    (void)fclose(out);
  }
  free(input);
  fp_close(bundle);
  return code;
}
