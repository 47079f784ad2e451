/* A TFLite file as plain structures; every place in it is checked against its size. */
#ifndef FCA_READER_H
#define FCA_READER_H

#include "fca_run.h"

#define FR_MOST_TENSORS 100000u
#define FR_MOST_INPUTS 64u

/* Numbers of the schema. */
enum { TYPE_FLOAT32 = 0, TYPE_FLOAT16 = 1, TYPE_INT32 = 2, TYPE_INT8 = 9 };

struct fr_tensor {
  const char *name; /* not terminated */
  size_t name_bytes;
  struct fr_shape shape;
  int type;
  const uint8_t *data; /* NULL where it is computed */
  size_t bytes;
  const uint8_t *scales; /* floats, at any address */
  size_t scale_count;
  bool shifted;     /* a zero point that is not 0 */
  int32_t channels; /* the axis that scales belong to */
};

struct fr_operator {
  int code;
  size_t input_count, output_count;
  int32_t inputs[FR_MOST_INPUTS], outputs[FR_MOST_INPUTS]; /* -1 is none */
  size_t options;                                           /* a table's place, 0 for none */
};

struct fr_file {
  const uint8_t *data;
  size_t size;
  struct fr_tensor *tensors;
  struct fr_operator *operators;
  size_t tensor_count, operator_count;
  int32_t input, output;
  bool bad; /* a place lies outside */
};

/* Read a file that is in memory; it must stay there. False says why. */
bool fr_read(struct fr_file *file, const uint8_t *data, size_t size, char *why);
void fr_free(struct fr_file *file);

/* A number in an operator's options, or what stands for it where it is left out. */
int32_t fr_option(struct fr_file *file, const struct fr_operator *op, unsigned field,
                  unsigned bytes, int32_t otherwise);
float fr_option_float(struct fr_file *file, const struct fr_operator *op, unsigned field,
                      float otherwise);
/* The bytes of a named metadata entry, NULL where there is none. */
const uint8_t *fr_find_metadata(struct fr_file *file, const char *name, size_t *bytes);
/* One number of an int32 constant; the caller knows that it has so many. */
int32_t fr_number(const struct fr_tensor *tensor, size_t index);

#endif
