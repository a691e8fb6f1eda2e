/* Another tool of rocprofiler-sdk, as a user may have one: takes kernels and counts them. Part of the STUB, see rocm.h. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
typedef struct { uint64_t handle; } handle;
static size_t seen;
static handle buffer;
static void take(handle c, handle b, void **headers, size_t count, void *data, uint64_t dropped) {
    (void)c; (void)b; (void)headers; (void)data; (void)dropped;
    seen += count;
}
#define CALL(name, type) ((type)dlsym(RTLD_DEFAULT, name))
static int initialize(void *finalize, void *data) {
    (void)finalize; (void)data;
    handle context = {0};
    CALL("rocprofiler_create_context", int (*)(handle *))(&context);
    CALL("rocprofiler_create_buffer", int (*)(handle, size_t, size_t, int, void *, void *, handle *))(context, 1 << 20, 1 << 19, 2, (void *)take, NULL, &buffer);
    CALL("rocprofiler_configure_buffer_tracing_service", int (*)(handle, int, const int *, size_t, handle))(context, 11, NULL, 0, buffer);
    return CALL("rocprofiler_start_context", int (*)(handle))(context);
}
static void finalize(void *data) {
    (void)data;
    CALL("rocprofiler_flush_buffer", int (*)(handle))(buffer);
    fprintf(stderr, "another tool: %zu kernels\n", seen);
}
static struct { size_t size; int (*initialize)(void *, void *); void (*finalize)(void *); void *data; } result = {sizeof result, initialize, finalize, NULL};
void *rocprofiler_configure(uint32_t version, const char *text, uint32_t priority, void *client) {
    (void)version; (void)text; (void)priority; (void)client;
    return &result;
}
