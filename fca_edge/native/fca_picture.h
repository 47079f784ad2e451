/* Pictures as a model's input, and its classes, as a bundle says: `fca-edge bundle --runtime
 * xnnpack` writes one. See example.c.
 */
#ifndef FCA_PICTURE_H
#define FCA_PICTURE_H

#include "fca_run.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fp_bundle;

/* What had to be changed in a picture. */
enum fp_mark {
  FP_DEEP = 1,        /* it has more than 8 bits per channel; scaled to 8 */
  FP_TRANSPARENT = 2, /* it is transparent in places; behind them lies the background */
  FP_DIM = 4          /* deep, and no value is above 1/8 of full scale: fewer bits stored in 16? */
};

/* Read a bundle's settings and labels. On failure *bundle is NULL and `why` holds one line. */
enum fr_status fp_open(const char *folder, struct fp_bundle **bundle, char *why);
/* Give everything back; NULL is nothing. */
void fp_close(struct fp_bundle *bundle);
/* Path of the model, for fr_open, and how many threads its settings name. */
const char *fp_model(const struct fp_bundle *bundle);
size_t fp_threads(const struct fp_bundle *bundle);
/* Name of a class; an empty text where there is none of that number. */
size_t fp_classes(const struct fp_bundle *bundle);
const char *fp_label(const struct fp_bundle *bundle, size_t number);
/* Read a PNG or PPM (P6), resized, cropped and normalised, as the input of this shape; or a .npy
 * array that is one already. `marks` becomes the sum of fp_mark's; NULL does not ask for it. */
enum fr_status fp_read(const struct fp_bundle *bundle, const char *path,
                       const struct fr_shape *shape, float *input, unsigned *marks, char *why);

#ifdef __cplusplus
}
#endif
#endif
