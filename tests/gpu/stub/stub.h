/* What the two halves of the stub share.
 *
 * libcuda.c and libcupti.c together are a STUB of the CUDA driver and of CUPTI: no device, no NVIDIA code. They play the
 * part that CUPTI's headers describe (buffers asked for and given back, records of each version's length, refusals), so
 * that our side of the interface is exercised through the real C interface. They prove nothing about NVIDIA's side.
 */
#ifndef STUB_H
#define STUB_H
#include <stddef.h>
#include <stdint.h>

/* A record in its newest form, and how long a device works on it: `due` is when it is complete, in ns of the stub's own
 * clock (CLOCK_MONOTONIC); 0 is at once. `patch_times` says that start and end are to be put in by CUPTI's clock. */
struct stub_record {
    uint8_t bytes[256];
    uint64_t start_ns, end_ns; /* CLOCK_MONOTONIC */
    int start_at, end_at;      /* offsets, -1 for none */
};

/* Handed from the stub driver to the stub CUPTI, where that is loaded. */
typedef void (*stub_take)(const struct stub_record *);

static inline void put8(uint8_t *b, size_t at, uint8_t v) { b[at] = v; }
static inline void put16(uint8_t *b, size_t at, uint16_t v) { __builtin_memcpy(b + at, &v, 2); }
static inline void put32(uint8_t *b, size_t at, uint32_t v) { __builtin_memcpy(b + at, &v, 4); }
static inline void put64(uint8_t *b, size_t at, uint64_t v) { __builtin_memcpy(b + at, &v, 8); }
#endif
