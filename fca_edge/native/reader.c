#include "reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fields of the schema's tables. */
enum { MODEL_CODES = 1, MODEL_GRAPHS = 2, MODEL_BUFFERS = 4, MODEL_METADATA = 6 };
enum { GRAPH_TENSORS = 0, GRAPH_INPUTS = 1, GRAPH_OUTPUTS = 2, GRAPH_OPERATORS = 3 };
enum { TENSOR_SHAPE = 0, TENSOR_TYPE = 1, TENSOR_BUFFER = 2, TENSOR_NAME = 3, TENSOR_SCALES = 4 };
enum { OPERATOR_CODE = 0, OPERATOR_INPUTS = 1, OPERATOR_OUTPUTS = 2, OPERATOR_OPTIONS = 4 };
enum { CODE_OLD = 0, CODE_NEW = 3, SCALES_SCALE = 2, SCALES_ZERO = 3, SCALES_AXIS = 6 };
enum { META_NAME = 0, META_BUFFER = 1, BUFFER_DATA = 0, BUFFER_OFFSET = 1, BUFFER_SIZE = 2 };

static const uint8_t *bytes_at(struct fr_file *file, size_t place, size_t bytes) {
  static const uint8_t zeros[8] = {0};
  if (place > file->size || bytes > file->size - place) {
    file->bad = true;
    return zeros;
  }
  return file->data + place;
}

static uint16_t read16(struct fr_file *file, size_t place) {
  uint16_t value;
  memcpy(&value, bytes_at(file, place, sizeof value), sizeof value);
  return value;
}

static uint32_t read32(struct fr_file *file, size_t place) {
  uint32_t value;
  memcpy(&value, bytes_at(file, place, sizeof value), sizeof value);
  return value;
}

static uint64_t read64(struct fr_file *file, size_t place) {
  uint64_t value;
  memcpy(&value, bytes_at(file, place, sizeof value), sizeof value);
  return value;
}

/* The place of a table's field, 0 where it is left out. */
static size_t find_field(struct fr_file *file, size_t table, unsigned field) {
  int32_t back = (int32_t)read32(file, table);
  int64_t names = (int64_t)table - back;
  if (names < 0 || (uint64_t)names > file->size) {
    file->bad = true;
    return 0;
  }
  size_t slot = 4 + 2 * (size_t)field;
  if (slot + 2 > read16(file, (size_t)names)) return 0;
  uint16_t offset = read16(file, (size_t)names + slot);
  return offset ? table + offset : 0;
}

/* Where an offset at a place leads to. */
static size_t follow(struct fr_file *file, size_t place) {
  uint32_t offset = read32(file, place);
  if (offset == 0 || offset > file->size - place) {
    file->bad = true;
    return 0;
  }
  return place + offset;
}

static size_t find_table(struct fr_file *file, size_t table, unsigned field) {
  size_t place = find_field(file, table, field);
  return place ? follow(file, place) : 0;
}

/* A vector's first element; all of them lie inside the file. */
static size_t find_vector(struct fr_file *file, size_t table, unsigned field, size_t width,
                          size_t *count) {
  size_t place = find_table(file, table, field);
  *count = place ? read32(file, place) : 0;
  if (*count && (file->bad || *count > (file->size - place - 4) / width)) {
    file->bad = true;
    *count = 0;
  }
  return *count ? place + 4 : 0;
}

static uint32_t number_in(struct fr_file *file, size_t table, unsigned field) {
  size_t place = find_field(file, table, field);
  return place ? read32(file, place) : 0;
}

static bool read_indices(struct fr_file *file, size_t table, unsigned field, int32_t *out,
                         size_t *count) {
  size_t place = find_vector(file, table, field, 4, count);
  if (*count > FR_MOST_INPUTS) return false;
  for (size_t i = 0; i < *count; i++) {
    out[i] = (int32_t)read32(file, place + 4 * i);
    if (out[i] < -1 || (out[i] >= 0 && (size_t)out[i] >= file->tensor_count)) return false;
  }
  return true;
}

static size_t width_of(int type) {
  switch (type) {
    case TYPE_FLOAT32:
    case TYPE_INT32: return 4;
    case TYPE_FLOAT16: return 2;
    case TYPE_INT8: return 1;
    default: return 0;
  }
}

/* The bytes of a buffer; those behind the flatbuffer have an offset of their own. */
static const uint8_t *read_buffer(struct fr_file *file, size_t model, uint32_t number,
                                  size_t *bytes) {
  size_t count, place = find_vector(file, model, MODEL_BUFFERS, 4, &count);
  *bytes = 0;
  if (number == 0) return NULL;
  if (number >= count) {
    file->bad = true;
    return NULL;
  }
  size_t table = follow(file, place + 4 * (size_t)number);
  size_t data = find_vector(file, table, BUFFER_DATA, 1, bytes);
  size_t far_offset = find_field(file, table, BUFFER_OFFSET);
  if (data == 0 && far_offset) {
    size_t far_size = find_field(file, table, BUFFER_SIZE);
    uint64_t start = read64(file, far_offset), size = far_size ? read64(file, far_size) : 0;
    if (start > file->size || size > file->size - start) file->bad = true;
    if (file->bad || start <= 1) return NULL;
    data = (size_t)start;
    *bytes = (size_t)size;
  }
  return data && !file->bad ? file->data + data : NULL;
}

static bool read_shape(struct fr_file *file, size_t table, struct fr_shape *shape) {
  size_t place = find_vector(file, table, TENSOR_SHAPE, 4, &shape->rank);
  if (shape->rank > FR_MOST_AXES) return false;
  shape->elements = 1;
  for (size_t i = 0; i < shape->rank; i++) {
    int32_t size = (int32_t)read32(file, place + 4 * i);
    if (size <= 0 || (size_t)size > (size_t)INT32_MAX / shape->elements) return false;
    shape->sizes[i] = (size_t)size;
    shape->elements *= (size_t)size;
  }
  return true;
}

static bool read_scales(struct fr_file *file, size_t table, struct fr_tensor *tensor) {
  size_t scales = find_table(file, table, TENSOR_SCALES), count;
  if (!scales) return true;
  size_t place = find_vector(file, scales, SCALES_SCALE, 4, &tensor->scale_count);
  tensor->scales = place ? file->data + place : NULL;
  size_t zeros = find_vector(file, scales, SCALES_ZERO, 8, &count);
  for (size_t i = 0; i < count; i++) tensor->shifted |= read64(file, zeros + 8 * i) != 0;
  tensor->channels = (int32_t)number_in(file, scales, SCALES_AXIS);
  return true;
}

static bool read_tensor(struct fr_file *file, size_t model, size_t table,
                        struct fr_tensor *tensor) {
  size_t place = find_field(file, table, TENSOR_TYPE);
  tensor->type = place ? *bytes_at(file, place, 1) : TYPE_FLOAT32;
  size_t name = find_vector(file, table, TENSOR_NAME, 1, &tensor->name_bytes);
  tensor->name = name ? (const char *)file->data + name : "";
  if (!read_shape(file, table, &tensor->shape) || !read_scales(file, table, tensor)) return false;
  uint32_t buffer = number_in(file, table, TENSOR_BUFFER);
  tensor->data = read_buffer(file, model, buffer, &tensor->bytes);
  if (!tensor->data) return true;
  /* A size that is not the shape's would be read past its end. */
  size_t width = width_of(tensor->type);
  return width && tensor->bytes == width * tensor->shape.elements &&
         (uintptr_t)tensor->data % width == 0;
}

static int read_code(struct fr_file *file, size_t codes, size_t count, uint32_t index) {
  if (index >= count) {
    file->bad = true;
    return -1;
  }
  size_t table = follow(file, codes + 4 * (size_t)index);
  size_t old = find_field(file, table, CODE_OLD);
  int32_t code = (int32_t)number_in(file, table, CODE_NEW);
  int32_t narrow = old ? (int8_t)*bytes_at(file, old, 1) : 0;
  return narrow > code ? narrow : code;
}

static bool refuse(char *why, const char *text, size_t number) {
  (void)snprintf(why, FR_MESSAGE_BYTES, "%s %zu cannot be read", text, number);
  return false;
}

static bool read_graph(struct fr_file *file, size_t model, size_t graph, char *why) {
  size_t codes_count, place = find_vector(file, graph, GRAPH_TENSORS, 4, &file->tensor_count);
  size_t codes = find_vector(file, model, MODEL_CODES, 4, &codes_count);
  if (file->tensor_count > FR_MOST_TENSORS) return refuse(why, "tensor", FR_MOST_TENSORS);
  file->tensors = calloc(file->tensor_count + 1, sizeof *file->tensors);
  if (!file->tensors) return refuse(why, "no memory; tensor", 0);
  for (size_t i = 0; i < file->tensor_count; i++) {
    size_t table = follow(file, place + 4 * i);
    if (!read_tensor(file, model, table, &file->tensors[i]) || file->bad)
      return refuse(why, "tensor", i);
  }
  place = find_vector(file, graph, GRAPH_OPERATORS, 4, &file->operator_count);
  if (file->operator_count > FR_MOST_TENSORS) return refuse(why, "operator", FR_MOST_TENSORS);
  file->operators = calloc(file->operator_count + 1, sizeof *file->operators);
  if (!file->operators) return refuse(why, "no memory; operator", 0);
  for (size_t i = 0; i < file->operator_count; i++) {
    struct fr_operator *op = &file->operators[i];
    size_t table = follow(file, place + 4 * i);
    op->code = read_code(file, codes, codes_count, number_in(file, table, OPERATOR_CODE));
    op->options = find_table(file, table, OPERATOR_OPTIONS);
    if (!read_indices(file, table, OPERATOR_INPUTS, op->inputs, &op->input_count) ||
        !read_indices(file, table, OPERATOR_OUTPUTS, op->outputs, &op->output_count) || file->bad)
      return refuse(why, "operator", i);
  }
  return true;
}

bool fr_read(struct fr_file *file, const uint8_t *data, size_t size, char *why) {
  *file = (struct fr_file){.data = data, .size = size};
  size_t graphs, inputs, outputs;
  if (size < 16 || memcmp(data + 4, "TFL3", 4) != 0) {
    (void)snprintf(why, FR_MESSAGE_BYTES, "is no TFLite file");
    return false;
  }
  size_t model = follow(file, 0), place = find_vector(file, model, MODEL_GRAPHS, 4, &graphs);
  size_t graph = graphs ? follow(file, place) : 0;
  if (file->bad || graphs != 1) {
    (void)snprintf(why, FR_MESSAGE_BYTES, "%s", file->bad ? "is cut or damaged"
                                                          : "holds more or less than one graph");
    return false;
  }
  int32_t ends[2][FR_MOST_INPUTS];
  if (!read_graph(file, model, graph, why) ||
      !read_indices(file, graph, GRAPH_INPUTS, ends[0], &inputs) ||
      !read_indices(file, graph, GRAPH_OUTPUTS, ends[1], &outputs) || file->bad || inputs != 1 ||
      outputs != 1 || ends[0][0] < 0 || ends[1][0] < 0 || ends[0][0] == ends[1][0]) {
    if (!why[0]) (void)snprintf(why, FR_MESSAGE_BYTES, "has not one input and one output");
    fr_free(file);
    return false;
  }
  file->input = ends[0][0];
  file->output = ends[1][0];
  return true;
}

void fr_free(struct fr_file *file) {
  free(file->tensors);
  free(file->operators);
  file->tensors = NULL;
  file->operators = NULL;
}

int32_t fr_option(struct fr_file *file, const struct fr_operator *op, unsigned field,
                  unsigned bytes, int32_t otherwise) {
  size_t place = op->options ? find_field(file, op->options, field) : 0;
  if (!place) return otherwise;
  return bytes == 1 ? (int32_t)*bytes_at(file, place, 1) : (int32_t)read32(file, place);
}

float fr_option_float(struct fr_file *file, const struct fr_operator *op, unsigned field,
                      float otherwise) {
  size_t place = op->options ? find_field(file, op->options, field) : 0;
  if (place) memcpy(&otherwise, bytes_at(file, place, 4), 4);
  return otherwise;
}

const uint8_t *fr_find_metadata(struct fr_file *file, const char *name, size_t *bytes) {
  size_t count, length, model = follow(file, 0);
  size_t place = find_vector(file, model, MODEL_METADATA, 4, &count);
  for (size_t i = 0; i < count && !file->bad; i++) {
    size_t table = follow(file, place + 4 * i);
    size_t text = find_vector(file, table, META_NAME, 1, &length);
    if (text && length == strlen(name) && memcmp(file->data + text, name, length) == 0)
      return read_buffer(file, model, number_in(file, table, META_BUFFER), bytes);
  }
  return NULL;
}

int32_t fr_number(const struct fr_tensor *tensor, size_t index) {
  int32_t value;
  memcpy(&value, tensor->data + 4 * index, 4);
  return value;
}
