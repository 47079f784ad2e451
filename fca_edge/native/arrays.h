/* Arrays in files: .npy and raw floats to read, .npy and .npz to write. */
#ifndef FCA_ARRAYS_H
#define FCA_ARRAYS_H

#include <stdio.h>

#include "fca_run.h"

struct fr_reader {
  FILE *file;
  size_t count; /* inputs of the model */
};

/* Open an array of inputs of a shape; false says why not. */
bool fr_inputs_open(struct fr_reader *reader, const char *path, const struct fr_shape *shape,
                    char *why);
/* Floats that an output of a shape has per input. */
size_t fr_row(const struct fr_shape *shape);
/* Write so many rows of an output of a shape; the file appears whole or not at all. */
bool fr_outputs_write(const char *path, const float *values, size_t rows,
                      const struct fr_shape *shape, char *why);

#endif
