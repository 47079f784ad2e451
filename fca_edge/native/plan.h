/* The line of JSON by which fca-edge says what to measure. */
#ifndef FCA_PLAN_H
#define FCA_PLAN_H

#include <stdbool.h>
#include <stddef.h>

struct fr_plan {
  char artefact[4096], inputs[4096], outputs[4096], mode[16], cpus[1024];
  size_t threads, warmups, iterations, seed;
  bool guest, waits;
};

/* Read one line over what the plan has already; other keys are passed by. */
bool fr_plan_read(struct fr_plan *plan, const char *line);

#endif
