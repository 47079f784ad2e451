#define _GNU_SOURCE
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

#define STAGED ".packing-"
enum { ALIGN = 64, STEP = 1 << 20, MOST_TRIES = 12000, MOST_NAME = 4096 };
#define KEPT ((uint64_t)1 << 32) /* where an entry has XNNPACK's seed: a constant */

struct header {
  char magic[8];
  uint64_t hash; /* of all that follows this number */
  uint64_t key, size, entries, count;
};

/* What was asked for, in the order of asking: a load asks the same each time. */
struct entry {
  uint64_t seed, offset, bytes;
};

struct fr_store {
  struct xnn_weights_cache_provider provider;
  uint8_t *base;
  size_t capacity, used, room; /* room: bytes that the disk has promised */
  struct entry *entries;
  size_t count, asked, pending, products, look_ups;
  const struct fr_origin *origin;
  uint64_t key;
  int folder, file; /* -1: none */
  bool warm, finished, wrong;
  int trouble; /* errno */
  char name[96], staged[64], *place;
};

static const char MAGIC[8] = {'F', 'C', 'A', 'R', 'U', 'N', '0', '2'};
static const size_t HASHED = offsetof(struct header, key);

static size_t round_up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

/* Have so many bytes on the disk before they are written: a map cannot say that it is full. */
static bool have_room(struct fr_store *s, size_t bytes) {
  if (bytes > s->capacity) return s->trouble = ENOMEM, false;
  if (s->file < 0 || bytes <= s->room) return true;
  size_t wanted = round_up(bytes, STEP);
  s->trouble = posix_fallocate(s->file, 0, (off_t)wanted);
  if (s->trouble == 0) s->room = wanted;
  return s->trouble == 0;
}

static size_t look_up(void *context, const struct xnn_weights_cache_look_up_key *key) {
  struct fr_store *s = context;
  s->look_ups++;
  if (!s->warm) return SIZE_MAX;
  if (s->asked >= s->count || s->entries[s->asked].seed != key->seed)
    return s->wrong = true, SIZE_MAX;
  return (size_t)s->entries[s->asked++].offset;
}

static void *reserve(void *context, size_t bytes) {
  struct fr_store *s = context;
  size_t start = round_up(s->used, ALIGN);
  if (s->warm || bytes > s->capacity || !have_room(s, start + bytes + ALIGN)) return NULL;
  s->pending = start;
  return s->base + start;
}

static bool append(struct fr_store *s, uint64_t seed, size_t offset, size_t bytes) {
  if (s->count % 256 == 0) {
    struct entry *grown = realloc(s->entries, (s->count + 256) * sizeof *grown);
    if (!grown) return s->trouble = ENOMEM, false;
    s->entries = grown;
  }
  s->entries[s->count++] = (struct entry){seed, offset, bytes};
  return true;
}

/* The same bytes twice, as parts of one layer have them, are kept once. */
static size_t insert(struct fr_store *s, uint64_t seed, const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < s->count; i++) {
    const struct entry *one = &s->entries[i];
    if (one->bytes == size && memcmp(s->base + one->offset, bytes, size) == 0)
      return append(s, seed, (size_t)one->offset, size) ? (size_t)one->offset : SIZE_MAX;
  }
  if (!append(s, seed, s->pending, size)) return SIZE_MAX;
  s->used = s->pending + size;
  if (s->file >= 0) {
    /* Neither what was packed nor what it was made of need stay: both are in files. */
    size_t page = (size_t)sysconf(_SC_PAGESIZE), start = s->pending / page * page;
    (void)madvise(s->base + start, s->used - start, MADV_DONTNEED);
    (void)madvise((void *)(uintptr_t)s->origin->data, s->origin->size, MADV_DONTNEED);
  }
  return s->pending;
}

static size_t look_up_or_insert(void *context, const struct xnn_weights_cache_look_up_key *key,
                                void *bytes, size_t size) {
  struct fr_store *s = context;
  if (!s->warm) return insert(s, key->seed, bytes, size);
  /* Convolutions ask this after they have found theirs, too. */
  return s->asked ? (size_t)s->entries[s->asked - 1].offset : SIZE_MAX;
}

static bool is_finalized(void *context) { return ((struct fr_store *)context)->finished; }

static void *offset_to_address(void *context, size_t offset) {
  struct fr_store *s = context;
  return offset <= s->capacity ? s->base + offset : NULL;
}

static enum xnn_status delete_nothing(void *context) {
  (void)context;
  return xnn_status_success;
}

xnn_weights_cache_t fr_store_cache(struct fr_store *s) { return &s->provider; }

bool fr_store_warm(const struct fr_store *s) { return s->warm; }

void fr_store_expect(struct fr_store *s) { s->products++; }

const void *fr_store_keep(struct fr_store *s, const void *data, size_t bytes) {
  if (!s->warm && s->file < 0) return data;
  if (s->warm) {
    const struct entry *one = &s->entries[s->asked];
    if (s->asked >= s->count || one->seed != KEPT || one->bytes != bytes)
      return s->wrong = true, data;
    s->asked++;
    return s->base + one->offset;
  }
  uint8_t *place = reserve(s, bytes + XNN_EXTRA_BYTES);
  if (!place) return NULL;
  memcpy(place, data, bytes);
  size_t offset = insert(s, KEPT, place, bytes);
  if (offset == s->pending) s->used += XNN_EXTRA_BYTES; /* kernels read a little further */
  return offset == SIZE_MAX ? NULL : s->base + offset;
}

/* Hash a map of a file piece by piece, so that no more than a piece of it is in memory at once. */
static uint64_t hash_map(uint64_t hash, const uint8_t *data, size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  while (size > 0) {
    size_t piece = size < STEP ? size : STEP, skip = (uintptr_t)data % page;
#ifdef MADV_POPULATE_READ
    /* All at once, and not page by page; kernels before 5.14 do not know it. */
    (void)madvise((void *)(uintptr_t)(data - skip), piece + skip, MADV_POPULATE_READ);
#endif
    hash = fr_hash(hash, data, piece);
    (void)madvise((void *)(uintptr_t)(data - skip), piece + skip, MADV_DONTNEED);
    data += piece, size -= piece;
  }
  return hash;
}

static bool is_kept_whole(const struct fr_store *s, const struct header *head, size_t size) {
  if (memcmp(head->magic, MAGIC, sizeof MAGIC) != 0 || head->key != s->key || head->size != size)
    return false;
  if (head->entries % 8 || head->entries > size || head->count > size ||
      head->count * sizeof(struct entry) != size - head->entries)
    return false;
  if (hash_map(s->key, (const uint8_t *)head + HASHED, size - HASHED) != head->hash) return false;
  const struct entry *one = (const struct entry *)(const void *)(s->base + head->entries);
  for (uint64_t i = 0; i < head->count; i++)
    if (one[i].offset > size || one[i].bytes > size - one[i].offset) return false;
  return true;
}

/* Map what is kept; 0 where there is none, -1 where it is damaged. */
static int open_kept(struct fr_store *s) {
  struct stat facts;
  int file = openat(s->folder, s->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), outcome = -1;
  if (file < 0) return errno == ENOENT ? 0 : -1;
  if (fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) &&
      facts.st_size >= (off_t)sizeof(struct header) && facts.st_size < (off_t)(SIZE_MAX / 4)) {
    size_t size = (size_t)facts.st_size;
    void *base = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (base != MAP_FAILED) {
      const struct header *head = base;
      s->base = base, s->capacity = size;
      if (is_kept_whole(s, head, size)) {
        s->entries = (struct entry *)(void *)(s->base + head->entries);
        s->count = (size_t)head->count;
        s->warm = true;
        outcome = 1;
      } else {
        (void)munmap(base, size);
        s->base = NULL;
      }
    }
  }
  (void)close(file);
  return outcome;
}

/* Have the folder alone while something is made there. */
static bool lock_folder(struct fr_store *s) {
  const struct timespec pause = {.tv_nsec = 50000000};
  for (int i = 0; i < MOST_TRIES; i++) {
    if (flock(s->folder, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK) return true; /* no locks here: names of their own will do */
    (void)nanosleep(&pause, NULL);
  }
  s->trouble = EBUSY;
  return false;
}

/* Remove what loads have left that were killed. */
static void sweep(struct fr_store *s) {
  int copy = openat(s->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *folder = copy < 0 ? NULL : fdopendir(copy);
  if (!folder) return;
  for (struct dirent *one = readdir(folder); one; one = readdir(folder))
    if (strncmp(one->d_name, STAGED, strlen(STAGED)) == 0)
      (void)unlinkat(s->folder, one->d_name, 0);
  (void)closedir(folder);
}

static bool begin(struct fr_store *s) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  if (s->folder >= 0) {
    (void)snprintf(s->staged, sizeof s->staged, STAGED "%ld", (long)getpid());
    (void)unlinkat(s->folder, s->staged, 0);
    s->file = openat(s->folder, s->staged, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (s->file < 0) return s->trouble = errno, false;
    flags = MAP_SHARED;
  }
  s->capacity = round_up(s->origin->bound, STEP);
  void *base = mmap(NULL, s->capacity, PROT_READ | PROT_WRITE, flags, s->file, 0);
  if (base == MAP_FAILED) return s->trouble = errno, false;
  s->base = base;
  s->used = round_up(sizeof(struct header), ALIGN);
  return have_room(s, s->used);
}

static void name_kept(struct fr_store *s) {
  uint64_t machine = fr_processor_hash() ^ fr_library_hash() ^ (s->origin->half ? 1u : 0u);
  uint64_t model = hash_map(1, s->origin->data, s->origin->size);
  s->key = model ^ machine;
  (void)snprintf(s->name, sizeof s->name, "%016llx-xnnpack-%.24s-%016llx.packed",
                 (unsigned long long)model, fr_xnnpack_version(), (unsigned long long)machine);
}

static void say(const struct fr_store *s, char *note, const char *text) {
  (void)snprintf(note, FR_MESSAGE_BYTES, "%.300s: %s", s->place ? s->place : "weights", text);
}

struct fr_store *fr_store_open(const struct fr_origin *origin, const char *folder, char *note) {
  struct fr_store *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->origin = origin, s->folder = s->file = -1;
  s->provider = (struct xnn_weights_cache_provider){
      s,           look_up, reserve, look_up_or_insert, is_finalized, offset_to_address,
      delete_nothing};
  int kept = 0;
  if (folder) {
    s->place = strdup(folder);
    bool made = mkdir(folder, 0777) == 0 || errno == EEXIST;
    if (made) s->folder = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    s->trouble = s->folder < 0 ? errno : 0;
    if (s->folder >= 0) {
      name_kept(s);
      kept = open_kept(s);
      if (kept <= 0 && lock_folder(s)) {
        kept = open_kept(s); /* another process may have been quicker */
        if (kept < 0 && s->name[0]) {
          say(s, note, "packed weights are damaged; packed once more");
          (void)unlinkat(s->folder, s->name, 0);
        }
        if (kept <= 0) sweep(s);
        if (kept > 0) (void)flock(s->folder, LOCK_UN);
      }
    }
  }
  if (s->trouble == 0 && (kept > 0 || begin(s))) return s;
  say(s, note, strerror(s->trouble));
  fr_store_close(s);
  return NULL;
}

static bool write_whole(struct fr_store *s) {
  size_t start = round_up(s->used, ALIGN), bytes = s->count * sizeof *s->entries;
  if (!have_room(s, start + bytes)) return false;
  if (bytes) memcpy(s->base + start, s->entries, bytes);
  struct header *head = (struct header *)(void *)s->base;
  *head = (struct header){.key = s->key, .size = start + bytes, .entries = start, .count = s->count};
  memcpy(head->magic, MAGIC, sizeof MAGIC);
  head->hash = hash_map(s->key, s->base + HASHED, start + bytes - HASHED);
  bool done = ftruncate(s->file, (off_t)(start + bytes)) == 0 &&
              msync(s->base, start + bytes, MS_SYNC) == 0 && fsync(s->file) == 0 &&
              renameat(s->folder, s->staged, s->folder, s->name) == 0;
  if (!done) return s->trouble = errno, false;
  (void)fsync(s->folder);
  s->staged[0] = '\0';
  (void)mprotect(s->base, s->capacity, PROT_READ);
  (void)madvise(s->base, start + bytes, MADV_DONTNEED);
  return true;
}

bool fr_store_finish(struct fr_store *s, bool whole, char *note) {
  /* Weights that are packed without asking would be packed from nothing by a later load. */
  if (!whole && !s->trouble) s->trouble = ENOMEM;
  s->wrong |= s->look_ups < s->products;
  bool done = whole && !s->wrong && (s->warm ? s->asked == s->count : s->file < 0 || write_whole(s));
  if (!done) say(s, note, s->trouble ? strerror(s->trouble) : "packed weights are of another build");
  if (!s->warm && s->folder >= 0) (void)flock(s->folder, LOCK_UN);
  s->finished = true;
  return done;
}

void fr_store_close(struct fr_store *s) {
  if (!s) return;
  if (s->base) (void)munmap(s->base, s->capacity);
  if (!s->warm) free(s->entries);
  if (s->staged[0] && s->file >= 0) (void)unlinkat(s->folder, s->staged, 0);
  if (s->file >= 0) (void)close(s->file);
  if (s->folder >= 0) (void)close(s->folder);
  free(s->place);
  free(s);
}

void fr_store_discard(struct fr_store *s) {
  if (s->folder >= 0 && s->warm) (void)unlinkat(s->folder, s->name, 0);
  fr_store_close(s);
}
