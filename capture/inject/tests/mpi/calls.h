// What a test program knows of each call, written before it to the file LOG.RANK (LOG from the environment), one line a
// call: the name and `key=value` pairs. The test compares the lines with what was recorded.
#include <mpi.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *call_log;
static uint64_t checksum = 1469598103934665603u;

static void know(const char *format, ...) {
  if (!call_log) return;
  va_list arguments;
  va_start(arguments, format);
  vfprintf(call_log, format, arguments);
  va_end(arguments);
  fputc('\n', call_log);
}

static void open_log(const char *rank) {
  const char *base = getenv("LOG");
  char path[4096];
  if (!base || !rank) return;
  snprintf(path, sizeof path, "%s.%s", base, rank);
  call_log = fopen(path, "w");
}

static const char *rank_from_launcher(void) {
  const char *rank = getenv("OMPI_COMM_WORLD_RANK");
  return rank ? rank : getenv("PMI_RANK");
}

static void add(const void *bytes, size_t len) {
  const unsigned char *at = bytes;
  for (size_t index = 0; index < len; index++) checksum = (checksum ^ at[index]) * 1099511628211u;
}
