#include "plan.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_space(const char *p) {
  while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') p++;
  return p;
}

static size_t put_utf8(char *out, uint32_t code) {
  if (code < 0x80) return out[0] = (char)code, 1;
  if (code < 0x800) {
    out[0] = (char)(0xC0 | code >> 6), out[1] = (char)(0x80 | (code & 63));
    return 2;
  }
  if (code < 0x10000) {
    out[0] = (char)(0xE0 | code >> 12), out[1] = (char)(0x80 | (code >> 6 & 63));
    out[2] = (char)(0x80 | (code & 63));
    return 3;
  }
  out[0] = (char)(0xF0 | code >> 18), out[1] = (char)(0x80 | (code >> 12 & 63));
  out[2] = (char)(0x80 | (code >> 6 & 63)), out[3] = (char)(0x80 | (code & 63));
  return 4;
}

static bool read_hex(const char *p, uint32_t *code) {
  *code = 0;
  for (int i = 0; i < 4; i++) {
    const char *digits = "0123456789abcdef", lower = (char)(p[i] | 32);
    const char *place = p[i] ? strchr(digits, p[i] <= '9' ? p[i] : lower) : NULL;
    if (!place) return false;
    *code = *code * 16 + (uint32_t)(place - digits);
  }
  return true;
}

/* Read a string behind its first quote; NULL where it is none, or has no room. A surrogate that
 * stands alone is a byte of a name that is no text: Python writes it so. */
static const char *read_string(const char *p, char *out, size_t room) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  size_t used = 0;
  while (*p && *p != '"') {
    if (used + 5 > room) return NULL;
    if (*p != '\\') {
      out[used++] = *p++;
      continue;
    }
    const char *place = p[1] ? strchr(from, p[1]) : NULL;
    uint32_t code, low;
    if (place) {
      out[used++] = to[place - from], p += 2;
      continue;
    }
    if (p[1] != 'u' || !read_hex(p + 2, &code) || code == 0) return NULL;
    p += 6;
    if (code >= 0xDC80 && code <= 0xDCFF) {
      out[used++] = (char)(code - 0xDC00);
      continue;
    }
    if (code >= 0xD800 && code < 0xDC00 && p[0] == '\\' && p[1] == 'u' && read_hex(p + 2, &low) &&
        low >= 0xDC00 && low < 0xE000) {
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), p += 6;
    }
    used += put_utf8(out + used, code);
  }
  out[used] = '\0';
  return *p == '"' ? p + 1 : NULL;
}

/* Pass a value of any kind by. */
static const char *skip_value(const char *p) {
  char text[4096];
  int depth = 0;
  do {
    p = skip_space(p);
    if (*p == '"') {
      p = read_string(p + 1, text, sizeof text);
      if (!p) return NULL;
    } else if (*p == '{' || *p == '[') {
      depth++, p++;
    } else if (*p == '}' || *p == ']') {
      depth--, p++;
    } else if (*p == ',' || *p == ':') {
      if (depth == 0) return NULL;
      p++;
    } else {
      size_t length = strcspn(p, " \t\r\n,:{}[]\"");
      if (length == 0) return NULL;
      p += length;
    }
  } while (depth > 0);
  return p;
}

static const char *read_field(struct fr_plan *plan, const char *key, const char *p) {
  const struct {
    const char *name;
    char *text;
    size_t room;
    size_t *number;
    bool *flag;
  } fields[] = {
      {"artefact", plan->artefact, sizeof plan->artefact, NULL, NULL},
      {"inputs", plan->inputs, sizeof plan->inputs, NULL, NULL},
      {"outputs", plan->outputs, sizeof plan->outputs, NULL, NULL},
      {"mode", plan->mode, sizeof plan->mode, NULL, NULL},
      {"cpus", plan->cpus, sizeof plan->cpus, NULL, NULL},
      {"threads", NULL, 0, &plan->threads, NULL},
      {"warmups", NULL, 0, &plan->warmups, NULL},
      {"iterations", NULL, 0, &plan->iterations, NULL},
      {"seed", NULL, 0, &plan->seed, NULL},
      {"guest", NULL, 0, NULL, &plan->guest},
      {"waits", NULL, 0, NULL, &plan->waits},
  };
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    if (strcmp(fields[i].name, key) != 0) continue;
    if (fields[i].text && *p != '"') return strncmp(p, "null", 4) == 0 ? p + 4 : NULL;
    if (fields[i].text)
      return read_string(p + 1, fields[i].text, fields[i].room);
    if (fields[i].flag) {
      *fields[i].flag = strncmp(p, "true", 4) == 0;
      return skip_value(p);
    }
    char *end;
    unsigned long long value = strtoull(p, &end, 10);
    *fields[i].number = (size_t)value;
    return end == p || *p == '-' || value > INT32_MAX ? NULL : end;
  }
  return skip_value(p);
}

bool fr_plan_read(struct fr_plan *plan, const char *line) {
  char key[64];
  const char *p = skip_space(line);
  if (*p++ != '{') return false;
  p = skip_space(p);
  if (*p == '}') return true;
  for (;;) {
    p = skip_space(p);
    if (*p != '"') return false;
    p = read_string(p + 1, key, sizeof key);
    if (!p) return false;
    p = skip_space(p);
    if (*p != ':') return false;
    p = read_field(plan, key, skip_space(p + 1));
    if (!p) return false;
    p = skip_space(p);
    if (*p == '}') return true;
    if (*p++ != ',') return false;
  }
}
