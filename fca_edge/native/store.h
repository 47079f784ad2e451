/* Packed weights and other constants in one file that later loads map. */
#ifndef FCA_STORE_H
#define FCA_STORE_H

#include <xnnpack.h>

#include "fca_run.h"

struct fr_store;

/* What a store is of: the model's own bytes, and how they are computed. */
struct fr_origin {
  const char *path;
  const uint8_t *data;
  size_t size;
  size_t bound; /* bytes that everything kept has at most */
  bool half;
};

/* Open what an earlier load has kept, or begin to make it, or hold all in memory if `folder` is
 * NULL. NULL where that cannot be; `note` says why, or what was wrong with what was there. */
struct fr_store *fr_store_open(const struct fr_origin *origin, const char *folder, char *note);
/* Whether everything is there already: nothing of the model's own weights is read then. */
bool fr_store_warm(const struct fr_store *store);
/* One more product whose weights XNNPACK must ask for. */
void fr_store_expect(struct fr_store *store);
/* A constant that inferences read; the result stays. NULL where there is no room. */
const void *fr_store_keep(struct fr_store *store, const void *data, size_t bytes);
/* What XNNPACK asks for packed weights. */
xnn_weights_cache_t fr_store_cache(struct fr_store *store);
/* Nothing is added from now on; a file that is whole gets its name. False where there was no room,
 * it could not be written, or what was kept is not what this load asked for. */
bool fr_store_finish(struct fr_store *store, bool whole, char *note);
void fr_store_close(struct fr_store *store);
/* The same, and remove the file, which is not what it says. */
void fr_store_discard(struct fr_store *store);

uint64_t fr_hash(uint64_t seed, const uint8_t *data, size_t size);
/* The version of XNNPACK that runs. */
const char *fr_xnnpack_version(void);

#endif
