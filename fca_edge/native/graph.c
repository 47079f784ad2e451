#include "graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of the schema. */
enum { SAME = 0, ACT_NONE = 0, ACT_RELU = 1, ACT_UNIT = 2, ACT_RELU6 = 3 };
enum { OP_DEQUANTIZE = 6, OP_PAD = 34, OP_CONV = 3, OP_DEPTHWISE = 4 };

typedef bool (*builder)(struct fr_graph *, int kind);

static bool refuse(struct fr_graph *g, const char *text) {
  if (!g->why[0]) {
    const struct fr_tensor *out = &g->file->tensors[g->now->outputs[0]];
    int length = out->name_bytes < 80 ? (int)out->name_bytes : 80;
    (void)snprintf(g->why, FR_MESSAGE_BYTES, "operator %d, which makes '%.*s': %s", g->now->code,
                   length, out->name, text);
  }
  return false;
}

static bool expect(struct fr_graph *g, bool holds) {
  return holds || refuse(g, "its shapes or options do not fit each other");
}

static bool check(struct fr_graph *g, enum xnn_status status) {
  return status == xnn_status_success ||
         refuse(g, status == xnn_status_out_of_memory ? "no memory" : "XNNPACK does not take it");
}

/* The same for one more of XNNPACK's operators, which has the name of what it makes and works in
 * so many parts. */
static bool add_parts(struct fr_graph *g, size_t parts, enum xnn_status status) {
  if (g->made_count % 256 == 0) {
    struct fr_made *grown = realloc(g->made, (g->made_count + 256) * sizeof *grown);
    if (!grown) return refuse(g, "no memory");
    g->made = grown;
  }
  g->made[g->made_count++] = (struct fr_made){&g->file->tensors[g->now->outputs[0]], parts};
  return check(g, status);
}

static bool add(struct fr_graph *g, enum xnn_status status) { return add_parts(g, 1, status); }

static void *own(struct fr_graph *g, size_t bytes) {
  void **grown = realloc(g->owned, (g->owned_count + 1) * sizeof *grown);
  void *memory = grown ? calloc(1, bytes) : NULL;
  if (grown) g->owned = grown;
  if (memory) g->owned[g->owned_count++] = memory;
  else (void)refuse(g, "no memory");
  return memory;
}

/* Tensors of the operator that is built; those that are left out are NULL. */
static const struct fr_tensor *input(struct fr_graph *g, size_t index) {
  int32_t tensor = index < g->now->input_count ? g->now->inputs[index] : -1;
  return tensor < 0 ? NULL : &g->file->tensors[tensor];
}

static const struct fr_tensor *output(struct fr_graph *g) {
  return &g->file->tensors[g->now->outputs[0]];
}

static bool is_same(const struct fr_shape *a, const struct fr_shape *b) {
  return a->rank == b->rank && memcmp(a->sizes, b->sizes, a->rank * sizeof *a->sizes) == 0;
}

static bool is_ints(const struct fr_tensor *tensor) {
  return tensor && tensor->data && tensor->type == TYPE_INT32;
}

static float from_half(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = (half >> 10) & 31u;
  uint32_t mantissa = half & 0x3ffu, bits;
  float value;
  if (exponent == 0) {
    value = ldexpf((float)mantissa, -24);
    return sign ? -value : value;
  }
  bits = exponent == 31 ? 0x7f800000u : (exponent + 112) << 23;
  bits |= sign | (mantissa << 13);
  memcpy(&value, &bits, sizeof value);
  return value;
}

static float scale_of(const struct fr_tensor *tensor, size_t index) {
  float value;
  memcpy(&value, tensor->scales + 4 * (tensor->scale_count == 1 ? 0 : index), 4);
  return value;
}

/* Scales of int8 weights that XNNPACK takes: symmetric, by the first axis, each a usual number. */
static bool has_scales(const struct fr_tensor *tensor, size_t channels) {
  if (tensor->shifted || tensor->channels != 0) return false;
  if (tensor->scale_count != 1 && tensor->scale_count != channels) return false;
  for (size_t i = 0; i < tensor->scale_count; i++)
    if (!(scale_of(tensor, i) > 0) || !isnormal(scale_of(tensor, i))) return false;
  return true;
}

/* The constant that a DEQUANTIZE makes a tensor of, or NULL. */
static const struct fr_tensor *stored_form(struct fr_graph *g, const struct fr_tensor *tensor) {
  int32_t made_by = g->producers[tensor - g->file->tensors];
  if (made_by < 0 || g->file->operators[made_by].code != OP_DEQUANTIZE) return NULL;
  const struct fr_tensor *stored = &g->file->tensors[g->file->operators[made_by].inputs[0]];
  return stored->data && is_same(&stored->shape, &tensor->shape) ? stored : NULL;
}

/* A constant as floats. Of weights that are packed and kept nobody reads it: zeros will do. */
static const void *as_floats(struct fr_graph *g, const struct fr_tensor *stored, bool kept) {
  size_t count = stored->shape.elements;
  float *values = own(g, count * sizeof *values);
  if (!values || (kept && fr_store_warm(g->store))) return values;
  for (size_t i = 0; i < count; i++) {
    uint16_t half;
    if (stored->type == TYPE_FLOAT16) {
      memcpy(&half, stored->data + 2 * i, 2);
      values[i] = from_half(half);
    } else {
      values[i] = (float)(int8_t)stored->data[i] * scale_of(stored, 0);
    }
  }
  return values;
}

static bool is_stored_small(const struct fr_tensor *stored) {
  return stored->type == TYPE_FLOAT16 ||
         (stored->type == TYPE_INT8 && stored->scale_count == 1 && has_scales(stored, 1));
}

/* The id of weights or a bias of a product, which XNNPACK packs; INVALID where there is a fault.
 * Those of a depthwise one are packed at each load; the others are kept. */
static uint32_t weights(struct fr_graph *g, const struct fr_tensor *tensor, size_t rank,
                        const size_t *sizes, size_t channels, bool kept) {
  uint32_t id = XNN_INVALID_VALUE_ID;
  const struct fr_tensor *stored = stored_form(g, tensor);
  const void *data = tensor->data;
  if (stored && tensor->type == TYPE_FLOAT32 && is_stored_small(stored))
    data = as_floats(g, stored, kept);
  if (!data) {
    (void)refuse(g, "its weights are computed, for which there is no kernel");
  } else if (tensor->type == TYPE_INT8 && has_scales(tensor, channels)) {
    float *scales = own(g, channels * sizeof *scales);
    for (size_t i = 0; scales && i < channels; i++) scales[i] = scale_of(tensor, i);
    if (scales)
      (void)check(g, xnn_define_channelwise_quantized_tensor_value(
                         g->subgraph, xnn_datatype_qcint8, scales, rank, 0, sizes, data,
                         XNN_INVALID_VALUE_ID, 0, &id));
  } else if (tensor->type == TYPE_FLOAT32) {
    (void)check(g, xnn_define_tensor_value(g->subgraph, xnn_datatype_fp32, rank, sizes, data,
                                           XNN_INVALID_VALUE_ID, 0, &id));
  } else {
    (void)refuse(g, "weights of this type have no kernel");
  }
  return id;
}

/* A constant that stays small, and is made floats at each run. */
static uint32_t widened(struct fr_graph *g, const struct fr_tensor *stored, uint32_t target) {
  uint32_t id = XNN_INVALID_VALUE_ID;
  const void *data = fr_store_keep(g->store, stored->data, stored->bytes);
  enum xnn_status status = xnn_status_out_of_memory;
  if (data && stored->type == TYPE_FLOAT16)
    status = xnn_define_tensor_value(g->subgraph, xnn_datatype_fp16, stored->shape.rank,
                                     stored->shape.sizes, data, XNN_INVALID_VALUE_ID, 0, &id);
  else if (data)
    status = xnn_define_quantized_tensor_value(g->subgraph, xnn_datatype_qint8, 0,
                                               scale_of(stored, 0), stored->shape.rank,
                                               stored->shape.sizes, data, XNN_INVALID_VALUE_ID, 0,
                                               &id);
  if (!check(g, status)) return XNN_INVALID_VALUE_ID;
  status = xnn_define_unary(g->subgraph, xnn_unary_convert, NULL, id, target, 0);
  return add(g, status) ? target : XNN_INVALID_VALUE_ID;
}

/* The id of a float tensor, defined when it is first asked for. */
static uint32_t value(struct fr_graph *g, const struct fr_tensor *tensor) {
  size_t number = (size_t)(tensor - g->file->tensors);
  if (g->ids[number] != XNN_INVALID_VALUE_ID) return g->ids[number];
  uint32_t external = XNN_INVALID_VALUE_ID, flags = 0, id = XNN_INVALID_VALUE_ID;
  const void *data = NULL;
  if (tensor->type != TYPE_FLOAT32) {
    (void)refuse(g, "computes with another type than float32, for which there is no kernel");
    return id;
  }
  const struct fr_tensor *stored = tensor->data ? NULL : stored_form(g, tensor);
  /* XNNPACK makes halves of floats itself, and of nothing else. */
  bool at_once = stored && g->half && is_stored_small(stored);
  if (at_once) {
    data = as_floats(g, stored, false);
    if (!data) return id;
  } else if (tensor->data) {
    data = fr_store_keep(g->store, tensor->data, tensor->bytes);
    if (!data) {
      (void)refuse(g, "no memory");
      return id;
    }
  } else if ((int32_t)number == g->file->input) {
    external = GRAPH_INPUT, flags = XNN_VALUE_FLAG_EXTERNAL_INPUT;
  } else if ((int32_t)number == g->file->output) {
    external = GRAPH_OUTPUT, flags = XNN_VALUE_FLAG_EXTERNAL_OUTPUT;
  } else if (g->producers[number] < 0) {
    (void)refuse(g, "reads what nothing makes");
    return id;
  }
  if (!check(g, xnn_define_tensor_value(g->subgraph, xnn_datatype_fp32, tensor->shape.rank,
                                        tensor->shape.sizes, data, external, flags, &id)))
    return XNN_INVALID_VALUE_ID;
  g->ids[number] = id;
  if (stored && !at_once) g->ids[number] = widened(g, stored, id);
  return g->ids[number];
}

static bool values(struct fr_graph *g, size_t count, uint32_t *ids) {
  for (size_t i = 0; i < count; i++) {
    const struct fr_tensor *tensor = input(g, i);
    if (!expect(g, tensor != NULL)) return false;
    ids[i] = value(g, tensor);
    if (ids[i] == XNN_INVALID_VALUE_ID) return false;
  }
  ids[count] = value(g, output(g));
  return ids[count] != XNN_INVALID_VALUE_ID;
}

static bool read_range(struct fr_graph *g, unsigned field, float *low, float *high) {
  int32_t kind = fr_option(g->file, g->now, field, 1, ACT_NONE);
  *low = kind == ACT_NONE ? -INFINITY : kind == ACT_UNIT ? -1.0f : 0.0f;
  *high = kind == ACT_UNIT ? 1.0f : kind == ACT_RELU6 ? 6.0f : INFINITY;
  return kind <= ACT_RELU6 || refuse(g, "its fused activation has no kernel");
}

static bool build_binary(struct fr_graph *g, int kind) {
  float low, high;
  uint32_t ids[3];
  const struct fr_tensor *a = input(g, 0), *b = input(g, 1), *out = output(g);
  if (!expect(g, a && b) || !read_range(g, 0, &low, &high)) return false;
  if (kind > xnn_binary_divide) low = -INFINITY, high = INFINITY; /* these have no activation */
  size_t rank = out->shape.rank;
  if (!expect(g, (a->shape.rank > b->shape.rank ? a->shape.rank : b->shape.rank) == rank))
    return false;
  for (size_t i = 1; i <= rank; i++) {
    size_t m = i > a->shape.rank ? 1 : a->shape.sizes[a->shape.rank - i];
    size_t n = i > b->shape.rank ? 1 : b->shape.sizes[b->shape.rank - i];
    size_t most = m > n ? m : n;
    if (!expect(g, (m == n || m == 1 || n == 1) && out->shape.sizes[rank - i] == most))
      return false;
  }
  struct xnn_binary_params range = {(double)low, (double)high};
  return values(g, 2, ids) &&
         add(g, xnn_define_binary(g->subgraph, (enum xnn_binary_operator)kind, &range, ids[0],
                                    ids[1], ids[2], 0));
}

/* One more value of the operator's shape between its input and its output. */
static uint32_t between(struct fr_graph *g) {
  uint32_t id = XNN_INVALID_VALUE_ID;
  const struct fr_shape *shape = &output(g)->shape;
  (void)check(g, xnn_define_tensor_value(g->subgraph, xnn_datatype_fp32, shape->rank, shape->sizes,
                                         NULL, XNN_INVALID_VALUE_ID, 0, &id));
  return id;
}

static bool combine(struct fr_graph *g, enum xnn_binary_operator kind, uint32_t a, uint32_t b,
                    uint32_t out) {
  struct xnn_binary_params range = {-INFINITY, INFINITY};
  return add(g, xnn_define_binary(g->subgraph, kind, &range, a, b, out, 0));
}

/* GELU in halves is scalar code in XNNPACK, half of a network's instructions. x sigmoid(x p(x x))
 * is within 94 dB of it, where halves have 60; p is fitted up to 5, beyond which nothing changes. */
static bool build_half_gelu(struct fr_graph *g) {
  static float numbers[3] = {1.59501055f, 0.07401604f, -7.038e-4f};
  const union xnn_unary_params range = {.clamp = {0.0f, 25.0f}};
  const size_t one = 1;
  uint32_t ids[2], p[3], square, most, y[6];
  if (!values(g, 1, ids)) return false;
  for (size_t i = 0; i < 3; i++)
    if (!check(g, xnn_define_tensor_value(g->subgraph, xnn_datatype_fp32, 1, &one, &numbers[i],
                                          XNN_INVALID_VALUE_ID, 0, &p[i])))
      return false;
  square = between(g), most = between(g);
  for (size_t i = 0; i < 6; i++) y[i] = between(g);
  xnn_subgraph_t s = g->subgraph;
  return !g->why[0] &&
         add(g, xnn_define_unary(s, xnn_unary_square, NULL, ids[0], square, 0)) &&
         add(g, xnn_define_unary(s, xnn_unary_clamp, &range, square, most, 0)) &&
         combine(g, xnn_binary_multiply, most, p[2], y[0]) &&
         combine(g, xnn_binary_add, y[0], p[1], y[1]) &&
         combine(g, xnn_binary_multiply, y[1], most, y[2]) &&
         combine(g, xnn_binary_add, y[2], p[0], y[3]) &&
         combine(g, xnn_binary_multiply, y[3], ids[0], y[4]) &&
         add(g, xnn_define_unary(s, xnn_unary_sigmoid, NULL, y[4], y[5], 0)) &&
         combine(g, xnn_binary_multiply, y[5], ids[0], ids[1]);
}

static bool build_unary(struct fr_graph *g, int kind) {
  uint32_t ids[2];
  union xnn_unary_params params = {.clamp = {0.0f, g->now->code == 21 ? 6.0f : INFINITY}};
  if (kind == xnn_unary_gelu && fr_option(g->file, g->now, 0, 1, 0))
    return refuse(g, "GELU by tanh has no kernel; export with --profile modern");
  if (!expect(g, input(g, 0) && is_same(&input(g, 0)->shape, &output(g)->shape))) return false;
  if (kind == xnn_unary_gelu && g->half) return build_half_gelu(g);
  const union xnn_unary_params *given = kind == xnn_unary_clamp ? &params : NULL;
  return values(g, 1, ids) &&
         add(g, xnn_define_unary(g->subgraph, (enum xnn_unary_operator)kind, given, ids[0],
                                   ids[1], 0));
}

static bool build_softmax(struct fr_graph *g, int kind) {
  (void)kind;
  uint32_t ids[2];
  if (fr_option_float(g->file, g->now, 0, 1.0f) != 1.0f) return refuse(g, "softmax with a beta");
  if (!expect(g, input(g, 0) && input(g, 0)->shape.rank > 0 &&
                     is_same(&input(g, 0)->shape, &output(g)->shape)))
    return false;
  return values(g, 1, ids) && add(g, xnn_define_softmax(g->subgraph, ids[0], ids[1], 0));
}

/* Input and paddings (top, right, bottom, left) of a convolution; a PAD before it becomes its own. */
static const struct fr_tensor *pad_source(struct fr_graph *g, uint32_t *padding) {
  const struct fr_tensor *source = input(g, 0);
  int32_t made_by = g->producers[source - g->file->tensors];
  if (made_by < 0 || g->file->operators[made_by].code != OP_PAD) return source;
  const struct fr_operator *pad = &g->file->operators[made_by];
  if (pad->input_count != 2 || pad->inputs[0] < 0 || pad->inputs[1] < 0) return source;
  const struct fr_tensor *from = &g->file->tensors[pad->inputs[0]];
  const struct fr_tensor *amounts = &g->file->tensors[pad->inputs[1]];
  if (!is_ints(amounts) || amounts->shape.elements != 8 || from->shape.rank != 4) return source;
  int32_t n[8];
  for (size_t i = 0; i < 8; i++) {
    n[i] = fr_number(amounts, i);
    if (n[i] < 0 || n[i] > 1024) return source;
  }
  for (size_t i = 0; i < 4; i++) {
    size_t padded = from->shape.sizes[i] + (size_t)n[2 * i] + (size_t)n[2 * i + 1];
    if (padded != source->shape.sizes[i]) return source;
  }
  if (n[0] || n[1] || n[6] || n[7]) return source;
  padding[0] = (uint32_t)n[2], padding[1] = (uint32_t)n[5];
  padding[2] = (uint32_t)n[3], padding[3] = (uint32_t)n[4];
  return from;
}

/* A product's input: as it is, or in 8 bits by rows where its weights are. */
static uint32_t quantized(struct fr_graph *g, const struct fr_tensor *source, size_t axes,
                          bool small) {
  uint32_t id = value(g, source), narrow = XNN_INVALID_VALUE_ID;
  if (!small || id == XNN_INVALID_VALUE_ID) return id;
  if (!check(g, xnn_define_dynamically_quantized_tensor_value(
                    g->subgraph, xnn_datatype_qdint8, source->shape.rank, axes,
                    source->shape.sizes, XNN_INVALID_VALUE_ID, 0, &narrow)) ||
      !add(g, xnn_define_unary(g->subgraph, xnn_unary_convert, NULL, id, narrow, 0)))
    return XNN_INVALID_VALUE_ID;
  return narrow;
}

static bool define_linear(struct fr_graph *g, const struct fr_tensor *source, size_t units,
                          size_t width, float low, float high, uint32_t flags) {
  const size_t sizes[2] = {units, width};
  const struct fr_tensor *kernel = input(g, 1), *bias = input(g, 2);
  if (!expect(g, !bias || (bias->shape.elements == units && bias->type == TYPE_FLOAT32)))
    return false;
  uint32_t in = quantized(g, source, 1, kernel->type == TYPE_INT8), out = value(g, output(g));
  uint32_t filter = weights(g, kernel, 2, sizes, units, true);
  fr_store_expect(g->store);
  uint32_t added = bias ? weights(g, bias, 1, sizes, 1, true) : XNN_INVALID_VALUE_ID;
  return !g->why[0] && add(g, xnn_define_fully_connected(g->subgraph, low, high, in, filter,
                                                           added, out, flags));
}

static bool build_linear(struct fr_graph *g, int kind) {
  (void)kind;
  float low, high;
  const struct fr_tensor *source = input(g, 0), *kernel = input(g, 1), *out = output(g);
  if (!expect(g, source && kernel && kernel->shape.rank == 2 && source->shape.rank > 0 &&
                     out->shape.rank > 0))
    return false;
  size_t units = kernel->shape.sizes[0], width = kernel->shape.sizes[1];
  bool keeps = fr_option(g->file, g->now, 2, 1, 0) != 0;
  if (fr_option(g->file, g->now, 1, 1, 0)) return refuse(g, "shuffled weights");
  struct fr_shape wanted = source->shape;
  if (keeps) {
    if (!expect(g, source->shape.sizes[source->shape.rank - 1] == width)) return false;
    wanted.sizes[wanted.rank - 1] = units;
  } else {
    wanted = (struct fr_shape){.rank = 2, .sizes = {source->shape.elements / width, units}};
    if (!expect(g, source->shape.elements % width == 0)) return false;
  }
  if (!expect(g, is_same(&wanted, &out->shape)) || !read_range(g, 0, &low, &high)) return false;
  uint32_t flags = keeps || source->shape.rank == 2 ? 0 : XNN_FLAG_TENSORFLOW_RESHAPE_2D;
  return define_linear(g, source, units, width, low, high, flags);
}

struct window {
  size_t kernel[2], stride[2], dilation[2], padding[2]; /* rows, columns; padding in all */
  bool same;
};

static bool read_window(struct fr_graph *g, struct window *w, unsigned dilation_field) {
  int32_t n[4] = {fr_option(g->file, g->now, 2, 4, 0), fr_option(g->file, g->now, 1, 4, 0),
                  fr_option(g->file, g->now, dilation_field + 1, 4, 1),
                  fr_option(g->file, g->now, dilation_field, 4, 1)};
  for (size_t i = 0; i < 4; i++)
    if (!expect(g, n[i] > 0 && n[i] <= 1024)) return false;
  for (size_t i = 0; i < 2; i++) {
    w->stride[i] = (size_t)n[i], w->dilation[i] = (size_t)n[i + 2];
  }
  w->same = fr_option(g->file, g->now, 0, 1, SAME) == SAME;
  return true;
}

static bool fits_window(const struct fr_shape *in, const struct fr_shape *out,
                        const struct window *w) {
  for (size_t i = 0; i < 2; i++) {
    size_t size = in->sizes[i + 1] + w->padding[i];
    size_t span = (w->kernel[i] - 1) * w->dilation[i] + 1;
    if (w->kernel[i] > 4096 || (!w->same && span > size)) return false;
    size_t places = w->same ? (size - 1) / w->stride[i] + 1 : (size - span) / w->stride[i] + 1;
    if (out->sizes[i + 1] != places) return false;
  }
  return in->sizes[0] == out->sizes[0];
}

static bool build_convolution(struct fr_graph *g, int depthwise) {
  struct window w = {.same = false};
  uint32_t pads[4] = {0, 0, 0, 0};
  float low, high;
  const struct fr_tensor *source = input(g, 0), *kernel = input(g, 1), *bias = input(g, 2);
  const struct fr_tensor *out = output(g);
  if (!expect(g, source && kernel && kernel->shape.rank == 4 && source->shape.rank == 4 &&
                     out->shape.rank == 4) ||
      !read_window(g, &w, depthwise ? 5 : 4) || !read_range(g, depthwise ? 4 : 3, &low, &high))
    return false;
  if (!w.same) source = pad_source(g, pads);
  for (size_t i = 0; i < 2; i++) w.kernel[i] = kernel->shape.sizes[i + 1];
  w.padding[0] = pads[0] + pads[2], w.padding[1] = pads[1] + pads[3];
  size_t channels = source->shape.sizes[3], units = out->shape.sizes[3];
  const size_t *sizes = kernel->shape.sizes;
  bool fits = depthwise ? sizes[0] == 1 && sizes[3] == units && units % channels == 0
                        : sizes[0] == units && channels % sizes[3] == 0;
  if (!expect(g, fits && fits_window(&source->shape, &out->shape, &w) &&
                     (!bias || (bias->shape.elements == units && bias->type == TYPE_FLOAT32))))
    return false;
  size_t groups = depthwise ? channels : channels / sizes[3];
  if (!expect(g, units % groups == 0)) return false;
  bool small = kernel->type == TYPE_INT8, pointwise = !depthwise && groups == 1;
  for (size_t i = 0; i < 2; i++)
    pointwise = pointwise && w.kernel[i] == 1 && w.stride[i] == 1 && w.padding[i] == 0;
  if (pointwise) return define_linear(g, source, units, channels, low, high, 0);
  if (depthwise && small) return refuse(g, "a depthwise convolution in 8 bits has no kernel");
  uint32_t in = quantized(g, source, 3, small), target = value(g, out);
  uint32_t filter = weights(g, kernel, 4, sizes, units, !depthwise);
  uint32_t added = bias ? weights(g, bias, 1, &units, 1, !depthwise) : XNN_INVALID_VALUE_ID;
  uint32_t flags = w.same ? XNN_FLAG_TENSORFLOW_SAME_PADDING : 0;
  if (g->why[0]) return false;
  if (!depthwise) fr_store_expect(g->store);
  if (depthwise)
    return add(g, xnn_define_depthwise_convolution_2d(
                        g->subgraph, pads[0], pads[1], pads[2], pads[3], (uint32_t)w.kernel[0],
                        (uint32_t)w.kernel[1], (uint32_t)w.stride[0], (uint32_t)w.stride[1],
                        (uint32_t)w.dilation[0], (uint32_t)w.dilation[1],
                        (uint32_t)(units / channels), channels, low, high, in, filter, added,
                        target, flags));
  return add(g, xnn_define_convolution_2d(
                      g->subgraph, pads[0], pads[1], pads[2], pads[3], (uint32_t)w.kernel[0],
                      (uint32_t)w.kernel[1], (uint32_t)w.stride[0], (uint32_t)w.stride[1],
                      (uint32_t)w.dilation[0], (uint32_t)w.dilation[1], (uint32_t)groups,
                      channels / groups, units / groups, low, high, in, filter, added, target,
                      flags));
}

/* Whether something but a convolution that takes over its zeros reads a PAD. */
static bool is_pad_read(struct fr_graph *g, const struct fr_operator *pad) {
  if (pad->outputs[0] == g->file->output) return true;
  const struct fr_operator *now = g->now;
  bool is_read = false;
  for (size_t i = 0; i < g->file->operator_count && !is_read; i++) {
    const struct fr_operator *op = &g->file->operators[i];
    for (size_t j = 0; j < op->input_count; j++) {
      if (op->inputs[j] != pad->outputs[0]) continue;
      uint32_t pads[4];
      bool product = j == 0 && (op->code == OP_CONV || op->code == OP_DEPTHWISE) &&
                     fr_option(g->file, op, 0, 1, SAME) != SAME;
      g->now = op;
      is_read |= !product || pad_source(g, pads) == &g->file->tensors[pad->outputs[0]];
    }
  }
  g->now = now;
  return is_read;
}

static bool build_pad(struct fr_graph *g, int kind) {
  (void)kind;
  size_t before[FR_MOST_AXES] = {0}, after[FR_MOST_AXES] = {0};
  uint32_t ids[2];
  const struct fr_tensor *source = input(g, 0), *amounts = input(g, 1), *out = output(g);
  if (!expect(g, source && is_ints(amounts) && g->now->input_count == 2 &&
                     amounts->shape.elements == 2 * source->shape.rank &&
                     out->shape.rank == source->shape.rank))
    return false;
  if (!is_pad_read(g, g->now)) return true;
  for (size_t i = 0; i < source->shape.rank; i++) {
    int32_t m = fr_number(amounts, 2 * i), n = fr_number(amounts, 2 * i + 1);
    if (!expect(g, m >= 0 && n >= 0 &&
                       source->shape.sizes[i] + (size_t)m + (size_t)n == out->shape.sizes[i]))
      return false;
    before[i] = (size_t)m, after[i] = (size_t)n;
  }
  return values(g, 1, ids) && add(g, xnn_define_static_constant_pad(
                                           g->subgraph, before, after, 0.0f, ids[0], ids[1], 0));
}

static bool build_reduce(struct fr_graph *g, int kind) {
  size_t axes[FR_MOST_AXES];
  bool gone[FR_MOST_AXES] = {false};
  uint32_t ids[2];
  const struct fr_tensor *source = input(g, 0), *chosen = input(g, 1), *out = output(g);
  size_t rank = source ? source->shape.rank : 0, count = 0;
  bool keeps = fr_option(g->file, g->now, 0, 1, 0) != 0;
  if (!expect(g, rank && is_ints(chosen) && chosen->shape.elements <= rank)) return false;
  for (size_t i = 0; i < chosen->shape.elements; i++) {
    int32_t axis = fr_number(chosen, i);
    if (!expect(g, axis >= -(int32_t)rank && axis < (int32_t)rank)) return false;
    gone[axis < 0 ? (size_t)(axis + (int32_t)rank) : (size_t)axis] = true;
  }
  struct fr_shape wanted = {.rank = 0};
  for (size_t i = 0; i < rank; i++) {
    if (gone[i]) axes[count++] = i;
    if (!gone[i] || keeps) wanted.sizes[wanted.rank++] = gone[i] ? 1 : source->shape.sizes[i];
  }
  if (!expect(g, count > 0 && is_same(&wanted, &out->shape)) || !values(g, 1, ids)) return false;
  return add(g, xnn_define_static_reduce(g->subgraph, (enum xnn_reduce_operator)kind, count,
                                           axes, ids[0], ids[1], keeps ? XNN_FLAG_KEEP_DIMS : 0));
}

static bool build_reshape(struct fr_graph *g, int kind) {
  (void)kind;
  uint32_t ids[2];
  const struct fr_tensor *out = output(g);
  if (!expect(g, input(g, 0) && input(g, 0)->shape.elements == out->shape.elements)) return false;
  return values(g, 1, ids) &&
         add(g, xnn_define_static_reshape(g->subgraph, out->shape.rank, out->shape.sizes,
                                            ids[0], ids[1], 0));
}

static bool build_transpose(struct fr_graph *g, int kind) {
  (void)kind;
  size_t order[FR_MOST_AXES];
  bool taken[FR_MOST_AXES] = {false};
  uint32_t ids[2];
  const struct fr_tensor *source = input(g, 0), *chosen = input(g, 1), *out = output(g);
  if (!expect(g, source && is_ints(chosen) && chosen->shape.elements == source->shape.rank &&
                     source->shape.rank == out->shape.rank && source->shape.rank > 0))
    return false;
  for (size_t i = 0; i < source->shape.rank; i++) {
    int32_t axis = fr_number(chosen, i);
    if (!expect(g, axis >= 0 && (size_t)axis < source->shape.rank && !taken[axis] &&
                       source->shape.sizes[axis] == out->shape.sizes[i]))
      return false;
    taken[axis] = true, order[i] = (size_t)axis;
  }
  return values(g, 1, ids) &&
         add(g, xnn_define_static_transpose(g->subgraph, source->shape.rank, order, ids[0],
                                              ids[1], 0));
}

static bool build_slice(struct fr_graph *g, int kind) {
  (void)kind;
  size_t begin[FR_MOST_AXES];
  uint32_t ids[2];
  const struct fr_tensor *source = input(g, 0), *first = input(g, 1), *count = input(g, 2);
  const struct fr_tensor *out = output(g);
  size_t rank = source ? source->shape.rank : 0;
  if (!expect(g, rank && is_ints(first) && is_ints(count) && first->shape.elements == rank &&
                     count->shape.elements == rank && out->shape.rank == rank))
    return false;
  for (size_t i = 0; i < rank; i++) {
    int32_t start = fr_number(first, i), size = fr_number(count, i);
    size_t all = source->shape.sizes[i], part = out->shape.sizes[i];
    if (!expect(g, start >= 0 && (size_t)start < all && part <= all - (size_t)start &&
                       (size == -1 ? part == all - (size_t)start : (size_t)size == part)))
      return false;
    begin[i] = (size_t)start;
  }
  return values(g, 1, ids) && add(g, xnn_define_static_slice(g->subgraph, rank, begin,
                                                               out->shape.sizes, ids[0], ids[1],
                                                               0));
}

/* Parts along one axis, which together are the whole. */
static bool fits_parts(struct fr_graph *g, const struct fr_shape *whole, const int32_t *parts,
                       size_t count, size_t axis) {
  size_t sum = 0;
  for (size_t i = 0; i < count; i++) {
    if (!expect(g, parts[i] >= 0)) return false;
    const struct fr_shape *part = &g->file->tensors[parts[i]].shape;
    if (!expect(g, part->rank == whole->rank)) return false;
    for (size_t j = 0; j < whole->rank; j++)
      if (!expect(g, j == axis || part->sizes[j] == whole->sizes[j])) return false;
    sum += part->sizes[axis];
  }
  return expect(g, sum == whole->sizes[axis]);
}

static bool build_split(struct fr_graph *g, int kind) {
  (void)kind;
  uint32_t ids[4];
  const struct fr_tensor *chosen = input(g, 0), *source = input(g, 1);
  size_t count = g->now->output_count, rank = source ? source->shape.rank : 0;
  if (!expect(g, rank && is_ints(chosen) && chosen->shape.elements == 1)) return false;
  if (count < 2 || count > 4) return refuse(g, "a split into other than 2 to 4 parts");
  int32_t axis = fr_number(chosen, 0);
  axis += axis < 0 ? (int32_t)rank : 0;
  if (!expect(g, axis >= 0 && (size_t)axis < rank)) return false;
  if (!fits_parts(g, &source->shape, g->now->outputs, count, (size_t)axis)) return false;
  uint32_t in = value(g, source);
  for (size_t i = 0; i < count; i++) {
    const struct fr_tensor *part = &g->file->tensors[g->now->outputs[i]];
    if (!expect(g, part->shape.sizes[axis] * count == source->shape.sizes[axis])) return false;
    ids[i] = value(g, part);
  }
  if (g->why[0]) return false;
  if (count == 2)
    return add_parts(g, 2, xnn_define_even_split2(g->subgraph, axis, in, ids[0], ids[1], 0));
  if (count == 3)
    return add_parts(g, 3, xnn_define_even_split3(g->subgraph, axis, in, ids[0], ids[1], ids[2], 0));
  return add_parts(g, 4,
               xnn_define_even_split4(g->subgraph, axis, in, ids[0], ids[1], ids[2], ids[3], 0));
}

static bool build_concatenation(struct fr_graph *g, int kind) {
  (void)kind;
  uint32_t ids[6];
  size_t count = g->now->input_count, rank = output(g)->shape.rank;
  int32_t axis = fr_option(g->file, g->now, 0, 4, 0);
  axis += axis < 0 ? (int32_t)rank : 0;
  if (count < 2 || count > 5) return refuse(g, "a concatenation of other than 2 to 5 parts");
  if (!expect(g, axis >= 0 && (size_t)axis < rank && !fr_option(g->file, g->now, 1, 1, 0)))
    return false;
  if (!fits_parts(g, &output(g)->shape, g->now->inputs, count, (size_t)axis) ||
      !values(g, count, ids))
    return false;
  xnn_subgraph_t s = g->subgraph;
  if (count == 2) return add_parts(g, 2, xnn_define_concatenate2(s, axis, ids[0], ids[1], ids[2], 0));
  if (count == 3)
    return add_parts(g, 3, xnn_define_concatenate3(s, axis, ids[0], ids[1], ids[2], ids[3], 0));
  if (count == 4)
    return add_parts(g, 4, xnn_define_concatenate4(s, axis, ids[0], ids[1], ids[2], ids[3], ids[4], 0));
  return add(
      g, xnn_define_concatenate5(s, axis, ids[0], ids[1], ids[2], ids[3], ids[4], ids[5], 0));
}

static bool build_matmul(struct fr_graph *g, int kind) {
  (void)kind;
  uint32_t ids[3];
  const struct fr_tensor *a = input(g, 0), *b = input(g, 1), *out = output(g);
  if (!expect(g, a && b && a->shape.rank >= 2 && a->shape.rank == b->shape.rank &&
                     a->shape.rank == out->shape.rank && !fr_option(g->file, g->now, 0, 1, 0)))
    return false;
  size_t rank = a->shape.rank, flip = fr_option(g->file, g->now, 1, 1, 0) ? 1 : 0;
  const size_t *m = a->shape.sizes + rank - 2, *n = b->shape.sizes + rank - 2;
  const size_t *k = out->shape.sizes + rank - 2;
  bool fits = m[1] == n[flip ? 1 : 0] && k[0] == m[0] && k[1] == n[flip ? 0 : 1];
  for (size_t i = 0; i + 2 < rank; i++) {  // a factor of one matrix serves all of the other
    size_t left = a->shape.sizes[i], right = b->shape.sizes[i];
    fits = fits && (left == right || left == 1 || right == 1) &&
           out->shape.sizes[i] == (left == 1 ? right : left);
  }
  return expect(g, fits) && values(g, 2, ids) &&
         add(g, xnn_define_batch_matrix_multiply(g->subgraph, ids[0], ids[1], ids[2],
                                                   flip ? XNN_FLAG_TRANSPOSE_B : 0));
}

static bool build_resize(struct fr_graph *g, int kind) {
  (void)kind;
  uint32_t ids[2];
  const struct fr_tensor *source = input(g, 0), *size = input(g, 1), *out = output(g);
  if (!expect(g, source && is_ints(size) && size->shape.elements == 2 &&
                     source->shape.rank == 4 && out->shape.rank == 4 &&
                     source->shape.sizes[0] == out->shape.sizes[0] &&
                     source->shape.sizes[3] == out->shape.sizes[3]))
    return false;
  for (size_t i = 0; i < 2; i++)
    if (!expect(g, fr_number(size, i) > 0 && (size_t)fr_number(size, i) == out->shape.sizes[i + 1]))
      return false;
  bool corners = fr_option(g->file, g->now, 2, 1, 0) != 0;
  bool centres = fr_option(g->file, g->now, 3, 1, 0) != 0;
  if (!expect(g, !(corners && centres))) return false;
  uint32_t flags = corners ? XNN_FLAG_ALIGN_CORNERS : centres ? 0 : XNN_FLAG_TENSORFLOW_LEGACY_MODE;
  return values(g, 1, ids) && add(g, xnn_define_static_resize_bilinear_2d(
                                           g->subgraph, out->shape.sizes[1], out->shape.sizes[2],
                                           ids[0], ids[1], flags));
}

/* Made when its result is asked for: weights are then packed from it, others widened at each run. */
static bool build_dequantize(struct fr_graph *g, int kind) {
  (void)kind;
  const struct fr_tensor *source = input(g, 0);
  if (!expect(g, source && is_same(&source->shape, &output(g)->shape))) return false;
  return (source->data && is_stored_small(source)) ||
         refuse(g, "what it widens is computed, or of a type for which there is no kernel");
}

/* Every operator that there is a kernel for, by the schema's number. */
static const struct {
  int code;
  builder build;
  int kind;
  size_t operands; /* inputs that may be computed, from the first on */
} TABLE[] = {
    {0, build_binary, xnn_binary_add, 2},
    {2, build_concatenation, 0, FR_MOST_INPUTS},
    {OP_CONV, build_convolution, false, 1},
    {OP_DEPTHWISE, build_convolution, true, 1},
    {OP_DEQUANTIZE, build_dequantize, 0, 1},
    {9, build_linear, 0, 1},
    {14, build_unary, xnn_unary_sigmoid, 1},
    {18, build_binary, xnn_binary_multiply, 2},
    {19, build_unary, xnn_unary_clamp, 1},
    {21, build_unary, xnn_unary_clamp, 1},
    {22, build_reshape, 0, 1},
    {23, build_resize, 0, 1},
    {25, build_softmax, 0, 1},
    {28, build_unary, xnn_unary_tanh, 1},
    {OP_PAD, build_pad, 0, 1},
    {39, build_transpose, 0, 1},
    {40, build_reduce, xnn_reduce_mean, 1},
    {41, build_binary, xnn_binary_subtract, 2},
    {42, build_binary, xnn_binary_divide, 2},
    {43, build_reshape, 0, 1},
    {47, build_unary, xnn_unary_exp, 1},
    {49, build_split, 0, 2},
    {55, build_binary, xnn_binary_maximum, 2},
    {57, build_binary, xnn_binary_minimum, 2},
    {59, build_unary, xnn_unary_negate, 1},
    {65, build_slice, 0, 1},
    {74, build_reduce, xnn_reduce_sum, 1},
    {75, build_unary, xnn_unary_square_root, 1},
    {76, build_unary, xnn_unary_reciprocal_square_root, 1},
    {92, build_unary, xnn_unary_square, 1},
    {99, build_binary, xnn_binary_squared_difference, 2},
    {101, build_unary, xnn_unary_abs, 1},
    {117, build_unary, xnn_unary_hardswish, 1},
    {126, build_matmul, 0, 2},
    {150, build_unary, xnn_unary_gelu, 1},
};

/* Whether the other inputs are constants: what is computed for them nobody would read. */
static bool reads_no_more(struct fr_graph *g, size_t operands) {
  for (size_t i = operands; i < g->now->input_count; i++) {
    const struct fr_tensor *more = input(g, i);
    if (more && !more->data && !stored_form(g, more)) return refuse(g, "it has an input too many");
  }
  return true;
}

static bool build_operator(struct fr_graph *g) {
  for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++)
    if (TABLE[i].code == g->now->code)
      return reads_no_more(g, TABLE[i].operands) && TABLE[i].build(g, TABLE[i].kind);
  return refuse(g, "there is no kernel for it");
}

/* Which operator makes each tensor: one at most, and before any that reads it. */
static bool find_producers(struct fr_graph *g) {
  for (size_t i = 0; i < g->file->tensor_count; i++) {
    g->ids[i] = XNN_INVALID_VALUE_ID;
    g->producers[i] = -1;
  }
  for (size_t i = 0; i < g->file->operator_count; i++) {
    const struct fr_operator *op = &g->file->operators[i];
    if (op->output_count == 0 || op->outputs[0] < 0) {
      (void)snprintf(g->why, FR_MESSAGE_BYTES, "operator %zu makes nothing", i);
      return false;
    }
    g->now = op;
    for (size_t j = 0; j < op->input_count; j++) {
      const struct fr_tensor *tensor = op->inputs[j] < 0 ? NULL : &g->file->tensors[op->inputs[j]];
      if (tensor && !tensor->data && op->inputs[j] != g->file->input &&
          g->producers[op->inputs[j]] < 0)
        return refuse(g, "reads what nothing has made yet");
    }
    for (size_t j = 0; j < op->output_count; j++) {
      int32_t made = op->outputs[j];
      if (made < 0 || g->file->tensors[made].data || made == g->file->input ||
          g->producers[made] >= 0)
        return refuse(g, "makes what is there already");
      g->producers[made] = (int32_t)i;
    }
  }
  return true;
}

/* Which tensors the output needs: XNNPACK aborts on what is computed and never read. */
static bool find_needed(struct fr_graph *g) {
  g->needed[g->file->output] = true;
  for (size_t i = g->file->operator_count; i-- > 0;) {
    const struct fr_operator *op = &g->file->operators[i];
    size_t count = 0;
    for (size_t j = 0; j < op->output_count; j++) count += g->needed[op->outputs[j]];
    g->now = op;
    if (count && count < op->output_count) return refuse(g, "a part of what it makes is not read");
    for (size_t j = 0; count && j < op->input_count; j++)
      if (op->inputs[j] >= 0) g->needed[op->inputs[j]] = true;
  }
  return g->needed[g->file->input] || refuse(g, "the output does not depend on the input");
}

bool fr_graph_build(struct fr_graph *g, struct fr_file *file, struct fr_store *store, bool half,
                    char *why) {
  *g = (struct fr_graph){.file = file, .store = store, .half = half, .why = why};
  g->ids = calloc(file->tensor_count, sizeof *g->ids);
  g->producers = calloc(file->tensor_count, sizeof *g->producers);
  g->needed = calloc(file->tensor_count, sizeof *g->needed);
  if (!g->ids || !g->producers || !g->needed ||
      xnn_create_subgraph(2, 0, &g->subgraph) != xnn_status_success) {
    (void)snprintf(why, FR_MESSAGE_BYTES, "no memory");
    return false;
  }
  if (!find_producers(g)) return false;
  if (g->producers[file->output] < 0) {
    (void)snprintf(why, FR_MESSAGE_BYTES, "nothing makes its output");
    return false;
  }
  if (!find_needed(g)) return false;
  for (size_t i = 0; i < file->operator_count; i++) {
    g->now = &file->operators[i];
    if (!g->needed[g->now->outputs[0]]) continue;
    bool done = build_operator(g);
    if (!done || file->bad) return done ? refuse(g, "its options lie outside the file") : false;
  }
  return true;
}

void fr_graph_free(struct fr_graph *g) {
  if (g->subgraph) (void)xnn_delete_subgraph(g->subgraph);
  free(g->ids);
  free(g->producers);
  free(g->needed);
  g->subgraph = NULL;
  g->ids = NULL;
  g->producers = NULL;
  g->needed = NULL;
}

size_t fr_graph_bound(const struct fr_file *file) {
  size_t bytes = 0;
  for (size_t i = 0; i < file->tensor_count; i++)
    if (file->tensors[i].data) bytes += 4 * file->tensors[i].shape.elements + 1024;
  return bytes;
}
