/* What packed weights depend on: the library's build and the processor. */
#ifndef FCA_MACHINE_H
#define FCA_MACHINE_H

#include <stdint.h>

uint64_t fr_library_hash(void);
uint64_t fr_processor_hash(void);

#endif
