/* Run a TFLite file of fca_edge on XNNPACK.
 *
 *     struct fr_model *model = NULL;
 *     char why[FR_MESSAGE_BYTES];
 *     struct fr_settings settings = {.threads = 4};
 *     if (fr_open("fcaformer_l1-fp32.tflite", &settings, &model, why) != FR_OK) ...
 *     fr_run(model, image, logits, why);
 *     fr_close(model);
 *
 * Image and logits are float32, in the layout and of the sizes that the file states: fr_input and
 * fr_output tell them. One model may be run by one thread at a time.
 */
#ifndef FCA_RUN_H
#define FCA_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FR_MESSAGE_BYTES 512
#define FR_MOST_AXES 6

enum fr_status {
  FR_OK = 0,
  FR_BAD_FILE = 1,     /* not a whole TFLite file, or an operator that there is no kernel for */
  FR_BAD_ARGUMENT = 2, /* a setting or an array that does not fit */
  FR_SYSTEM = 3        /* no memory, no thread, a file that cannot be opened */
};

struct fr_settings {
  size_t threads;    /* 0 is 1 */
  const char *cache; /* folder of packed weights; NULL is MODEL.cache/ beside the model */
  bool no_cache;     /* keep nothing, pack at every load */
  bool keep_pages;   /* do not give back the pages that only loading needed */
  bool profile;      /* take the time of every operator */
};

struct fr_model;

struct fr_shape {
  size_t rank;
  size_t sizes[FR_MOST_AXES];
  size_t elements;
};

struct fr_facts {
  size_t operators;    /* of the file */
  bool warm;           /* packed weights were there */
  bool half;           /* computed in fp16, which the file allows and the core can */
  const char *note;    /* what went wrong with the packed weights, or NULL */
  const char *version; /* of XNNPACK */
};

/* Load a model. On failure *model is NULL and `why` holds one line of FR_MESSAGE_BYTES at most. */
enum fr_status fr_open(const char *path, const struct fr_settings *settings,
                       struct fr_model **model, char *why);
/* Run one input of fr_input(model)->elements floats. */
enum fr_status fr_run(struct fr_model *model, const float *input, float *output, char *why);
/* Give everything back; NULL is nothing. */
void fr_close(struct fr_model *model);

const struct fr_shape *fr_input(const struct fr_model *model);
const struct fr_shape *fr_output(const struct fr_model *model);
struct fr_facts fr_facts(const struct fr_model *model);
/* A text that the exporter put into the file: "fca_edge" is JSON; NULL where there is none. */
const char *fr_metadata(const struct fr_model *model, const char *name, size_t *bytes);

/* One of XNNPACK's operators in the last run. */
struct fr_span {
  const char *kind;
  const char *tensor; /* that it makes; "" where XNNPACK has joined operators */
  size_t parts;       /* that it was timed in */
  uint64_t microseconds;
};

/* Time of each operator, in their order; needs settings.profile. */
enum fr_status fr_profile(struct fr_model *model,
                          void (*say)(void *context, const struct fr_span *span), void *context,
                          char *why);

#ifdef __cplusplus
}
#endif
#endif
