#define _GNU_SOURCE
#include "meter.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLE_MS = 50, MOST_SPANS = 1024 };

static bool watches_guest;
static unsigned long long guest_peak;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct span {
  unsigned long long start, end, offset;
  char name[200];
};

static bool read_span(const char *line, struct span *span) {
  span->name[0] = '\0';
  return sscanf(line, "%llx-%llx %*s %llx %*s %*s %199s", &span->start, &span->end, &span->offset,
                span->name) >= 3;
}

static size_t read_spans(const char *path, struct span *spans) {
  char line[1024];
  size_t count = 0;
  FILE *file = fopen(path, "re");
  while (file && count < MOST_SPANS && fgets(line, sizeof line, file))
    if (read_span(line, &spans[count]) && !strstr(line, "[vsyscall")) count++;
  if (file) (void)fclose(file);
  return count;
}

/* Where the emulator put address 0 of the guest: a file's map is seen from both sides. */
static unsigned long long find_base(const struct span *guest, size_t guests,
                                    const struct span *host, size_t hosts) {
  for (size_t i = 0; i < guests; i++) {
    size_t matches = 0, last = 0;
    for (size_t j = 0; guest[i].name[0] == '/' && j < hosts; j++) {
      if (host[j].offset != guest[i].offset || strcmp(host[j].name, guest[i].name) != 0) continue;
      matches++, last = j;
    }
    if (matches == 1) return host[last].start - guest[i].start;
  }
  return 0;
}

/* The emulator shows a guest its own maps and the host's view of them in smaps: what is in both is
 * the guest's. */
static void read_guest(unsigned long long *rss, unsigned long long *anonymous) {
  static struct span guest[MOST_SPANS], host[MOST_SPANS];
  char line[1024];
  struct span now;
  bool inside = false;
  size_t guests = read_spans("/proc/self/maps", guest);
  size_t hosts = read_spans("/proc/self/smaps", host);
  unsigned long long base = find_base(guest, guests, host, hosts), kib;
  *rss = *anonymous = 0;
  FILE *file = fopen("/proc/self/smaps", "re");
  while (file && fgets(line, sizeof line, file)) {
    if (sscanf(line, "Rss: %llu", &kib) == 1) {
      if (inside) *rss += kib * 1024;
    } else if (sscanf(line, "Anonymous: %llu", &kib) == 1) {
      if (inside) *anonymous += kib * 1024;
    } else if (strchr(line, '-') && read_span(line, &now)) {
      inside = false;
      for (size_t i = 0; i < guests; i++)
        inside |= guest[i].start + base < now.end && now.start < guest[i].end + base;
    }
  }
  if (file) (void)fclose(file);
  if (*rss > guest_peak) guest_peak = *rss;
}

static void *watch(void *context) {
  const struct timespec pause = {.tv_nsec = SAMPLE_MS * 1000000L};
  unsigned long long rss, anonymous;
  for (;;) {
    (void)pthread_mutex_lock(&lock);
    read_guest(&rss, &anonymous);
    (void)pthread_mutex_unlock(&lock);
    (void)nanosleep(&pause, NULL);
  }
  return context;
}

void fr_meter_start(bool guest) {
  pthread_t thread;
  watches_guest = guest;
  if (guest && pthread_create(&thread, NULL, watch, NULL) == 0) (void)pthread_detach(thread);
}

static void say_guest(FILE *out) {
  unsigned long long rss, anonymous;
  (void)pthread_mutex_lock(&lock);
  read_guest(&rss, &anonymous);
  (void)fprintf(out,
                ", \"rss_bytes\": %llu, \"anonymous_bytes\": %llu, \"file_bytes\": %llu, "
                "\"peak_rss_bytes\": %llu, \"method\": \"guest mappings, sampled every %d ms\"",
                rss, anonymous, rss - anonymous, guest_peak, SAMPLE_MS);
  (void)pthread_mutex_unlock(&lock);
}

void fr_meter_say(FILE *out) {
  static const char *const fields[][2] = {{"VmHWM:", "peak_rss_bytes"},
                                          {"VmRSS:", "rss_bytes"},
                                          {"RssAnon:", "anonymous_bytes"},
                                          {"RssFile:", "file_bytes"}};
  char line[256];
  if (watches_guest) {
    say_guest(out);
    return;
  }
  FILE *file = fopen("/proc/self/status", "re");
  while (file && fgets(line, sizeof line, file))
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
      if (strncmp(line, fields[i][0], strlen(fields[i][0])) == 0)
        (void)fprintf(out, ", \"%s\": %llu", fields[i][1],
                      1024 * strtoull(line + strlen(fields[i][0]), NULL, 10));
  (void)fputs(", \"method\": \"VmHWM\"", out);
  if (file) (void)fclose(file);
}
