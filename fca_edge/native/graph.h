/* The file's operators as one subgraph of XNNPACK. */
#ifndef FCA_GRAPH_H
#define FCA_GRAPH_H

#include "reader.h"
#include "store.h"

enum { GRAPH_INPUT = 0, GRAPH_OUTPUT = 1 };

/* One of XNNPACK's operators. */
struct fr_made {
  const struct fr_tensor *tensor;
  size_t parts;
};

struct fr_graph {
  struct fr_file *file;
  struct fr_store *store;
  xnn_subgraph_t subgraph;
  uint32_t *ids;      /* of XNNPACK, by tensor */
  int32_t *producers; /* operator by tensor, -1 for constants and the input */
  bool *needed;       /* by tensor */
  void **owned;       /* memory that the subgraph and its runtime point to */
  size_t owned_count;
  struct fr_made *made; /* in XNNPACK's order */
  size_t made_count;
  const struct fr_operator *now;
  char *why;
};

/* Build the subgraph; false says why not. fr_graph_free is due either way. */
bool fr_graph_build(struct fr_graph *graph, struct fr_file *file, struct fr_store *store,
                    char *why);
/* Everything but what a runtime still points to. */
void fr_graph_free(struct fr_graph *graph);
/* Bytes that all constants have as floats. */
size_t fr_graph_bound(const struct fr_file *file);

#endif
