/* What the parts of the STUB of ROCm share.
 *
 * librocprofiler-register.c, librocprofiler-sdk.c and libamdhip64.c together are a STUB of ROCm: no device, no code of AMD's.
 * They play the part that rocprofiler-sdk's headers and documentation describe (registration, contexts, buffers on a thread
 * of the library, records of each version's length and order, names of kinds and operations), so that our side of the
 * interface is exercised through the real C interface. They prove nothing about AMD's side.
 */
#ifndef ROCM_STUB_H
#define ROCM_STUB_H
#include <stddef.h>
#include <stdint.h>

/* What the stub of rocprofiler-sdk puts into the table that the stub of HIP registers. */
struct stub_hooks {
    uint64_t (*enter)(const char *kind, const char *operation); /* gives the correlation id */
    void (*leave)(void);
    void (*symbol)(uint64_t kernel, const char *name, uint32_t vgprs, uint32_t group_bytes);
    void (*kernel)(uint64_t kernel, int gpu, uint64_t queue, uint64_t start_ns, uint64_t end_ns, uint32_t blocks,
                   uint32_t threads, uint32_t group_bytes);
    void (*copy)(int from, int to, uint64_t bytes, uint64_t start_ns, uint64_t end_ns); /* GPU, -1 for the host */
    void (*memory)(int operation, int gpu, uint64_t address, uint64_t bytes);
    void (*scratch)(int operation, int gpu, uint64_t duration_ns);
};
#endif
