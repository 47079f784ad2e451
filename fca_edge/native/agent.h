#ifndef FCA_AGENT_H
#define FCA_AGENT_H

#include <stddef.h>
#include <stdint.h>

/* Do what a plan says, NULL for that on standard input; returns the exit code. */
int fr_agent(const char *plan);

/* Nanoseconds of a clock that never goes back. */
uint64_t fr_now(void);
/* Normally distributed numbers, the same for a seed on every machine. */
void fr_draw(float *values, size_t count, uint64_t seed);

#endif
