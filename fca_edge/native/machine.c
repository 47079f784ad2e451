/* What packed weights depend on: the library's build and the processor. */
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "machine.h"
#include "store.h"

#ifndef FR_XNNPACK_VERSION
#define FR_XNNPACK_VERSION "unknown"
#endif

struct build {
  uintptr_t inside;
  uint64_t hash;
};

/* Hash the build ID of the object that holds an address. */
static int hash_build(struct dl_phdr_info *info, size_t size, void *context) {
  (void)size;
  struct build *build = context;
  bool holds = false;
  for (size_t i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    uintptr_t start = (uintptr_t)(info->dlpi_addr + part->p_vaddr);
    holds |= part->p_type == PT_LOAD && build->inside >= start &&
             build->inside - start < part->p_memsz;
  }
  for (size_t i = 0; holds && i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    uintptr_t start = (uintptr_t)(info->dlpi_addr + part->p_vaddr);
    if (part->p_type == PT_NOTE)
      build->hash = fr_hash(build->hash, (const uint8_t *)start, (size_t)part->p_memsz);
  }
  return holds;
}

uint64_t fr_library_hash(void) {
  struct build build = {.hash = 1};
  enum xnn_status (*function)(const struct xnn_allocator *) = xnn_initialize;
  memcpy(&build.inside, &function, sizeof build.inside);
  (void)dl_iterate_phdr(hash_build, &build);
  return fr_hash(build.hash, (const uint8_t *)FR_XNNPACK_VERSION, sizeof FR_XNNPACK_VERSION);
}

/* Hash the lines of /proc/cpuinfo by which kernels are chosen; the order of cores does not count. */
uint64_t fr_processor_hash(void) {
  static const char *const names[] = {"flags", "Features", "model name", "CPU implementer",
                                      "CPU part"};
  static char line[8192];
  uint64_t sum = sizeof(void *);
  FILE *file = fopen("/proc/cpuinfo", "re");
  uint64_t seen[64];
  size_t count = 0;
  while (file && fgets(line, sizeof line, file)) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
      if (strncmp(line, names[i], strlen(names[i])) != 0) continue;
      uint64_t hash = fr_hash(7, (const uint8_t *)line, strlen(line));
      bool known = false;
      for (size_t j = 0; j < count; j++) known |= seen[j] == hash;
      if (known || count == sizeof seen / sizeof *seen) continue;
      seen[count++] = hash;
      sum += hash;
    }
  }
  if (file) (void)fclose(file);
  return sum;
}

const char *fr_xnnpack_version(void) { return FR_XNNPACK_VERSION; }

/* Eight sums of products of halves, each of a word and a key that changes from stripe to stripe: no
 * sum waits for a product, and vector units of ARM and x86 have both. It finds what has changed by
 * accident, not by intent. */
uint64_t fr_hash(uint64_t seed, const uint8_t *data, size_t size) {
  enum { LANES = 8, STRIPE = 8 * LANES };
  const uint64_t prime = 0x9E3779B185EBCA87u;
  uint64_t sums[LANES], keys[LANES], words[LANES], out = size * prime ^ seed;
  for (size_t i = 0; i < LANES; i++) {
    keys[i] = (seed + i + 1) * prime;
    keys[i] ^= keys[i] >> 29;
    sums[i] = ~keys[i];
  }
  for (; size >= STRIPE; data += STRIPE, size -= STRIPE) {
    memcpy(words, data, STRIPE);
    for (size_t i = 0; i < LANES; i++) {
      uint64_t mixed = words[i] ^ keys[i];
      sums[i] += words[i ^ 1] + (mixed & 0xffffffffu) * (mixed >> 32);
      keys[i] += prime;
    }
  }
  for (size_t i = 0; i < LANES; i++) {
    sums[i] ^= sums[i] >> 32;
    out = (out ^ sums[i]) * prime, out ^= out >> 31;
  }
  for (; size > 0; data++, size--) out = (out ^ *data) * prime, out ^= out >> 31;
  return out;
}
