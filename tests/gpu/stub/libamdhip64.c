/* STUB of the HIP runtime and of RCCL: see rocm.h. Its functions have the names of the real ones where those matter, and
 * arguments that say what the device is to play. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "rocm.h"

int rocprofiler_register_library_api_table(const char *, const void *, uint32_t, void **, uint64_t, uint64_t *);

static struct stub_hooks hooks;
static uint64_t free_at[8]; /* when a queue is done */
static const char *names[16];
static int name_count;

static uint64_t now(void) { struct timespec t; clock_gettime(CLOCK_BOOTTIME, &t); return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec; }
static void start(void) {
    static int is_started;
    if (is_started) return;
    is_started = 1;
    void *tables[] = {&hooks};
    uint64_t id;
    rocprofiler_register_library_api_table("hip", NULL, 70000, tables, 1, &id);
}
static void enter(const char *kind, const char *name) { start(); if (hooks.enter) hooks.enter(kind, name); }
static void leave(void) { if (hooks.leave) hooks.leave(); }
/* Code is loaded when it is first needed. */
static uint64_t kernel_of(const char *name) {
    for (int i = 0; i < name_count; i++) if (!strcmp(names[i], name)) return (uint64_t)i + 1;
    names[name_count++] = name;
    if (hooks.symbol) hooks.symbol((uint64_t)name_count, name, 96, 1024);
    return (uint64_t)name_count;
}
void stub_hip_launch(const char *call, const char *kernel, int gpu, int queue, uint64_t duration_ns) {
    enter("HIP_RUNTIME_API", call);
    uint64_t id = kernel_of(kernel), begin = now() + 2000;
    if (free_at[queue] > begin) begin = free_at[queue];
    free_at[queue] = begin + duration_ns;
    /* Handles of queues are any numbers. */
    if (hooks.kernel) hooks.kernel(id, gpu, 0x7f00aa000000ull + (uint64_t)queue * 4096, begin, begin + duration_ns, 128, 256, 4096);
    leave();
}
void stub_hip_copy(int from, int to, uint64_t bytes, int queue, uint64_t duration_ns) {
    enter("HIP_RUNTIME_API", "hipMemcpyAsync");
    uint64_t begin = now() + 2000;
    if (free_at[queue] > begin) begin = free_at[queue];
    free_at[queue] = begin + duration_ns;
    if (hooks.copy) hooks.copy(from, to, bytes, begin, begin + duration_ns);
    leave();
}
void stub_hip_memory(int is_release, uint64_t address, uint64_t bytes) {
    enter("HIP_RUNTIME_API", is_release ? "hipFree" : "hipMalloc");
    if (hooks.memory) hooks.memory(is_release ? 3 : 1, 0, address, bytes);
    leave();
}
void stub_hip_scratch(uint64_t duration_ns) { start(); if (hooks.scratch) hooks.scratch(1, 0, duration_ns); }
void stub_hip_synchronize(int queue) {
    enter("HIP_RUNTIME_API", "hipStreamSynchronize");
    uint64_t time = now();
    if (free_at[queue] > time) usleep((useconds_t)((free_at[queue] - time) / 1000 + 1));
    leave();
}
int hipGetDevice(int *device) { enter("HIP_RUNTIME_API", "hipGetDevice"); *device = 0; leave(); return 0; }
int hipGetLastError(void) { enter("HIP_RUNTIME_API", "hipGetLastError"); leave(); return 0; }
void stub_rccl_all_reduce(const char *kernel, int queue, uint64_t duration_ns) {
    enter("RCCL_API", "ncclAllReduce");
    stub_hip_launch("hipExtLaunchKernel", kernel, 0, queue, duration_ns);
    leave();
}
