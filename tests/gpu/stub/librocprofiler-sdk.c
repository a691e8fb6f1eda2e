/* STUB of rocprofiler-sdk: see rocm.h. Built by the tests as librocprofiler-sdk.so.1.
 *
 * STUB_ROCP_VERSION=N           10,000 times major, 100 times minor, patch; records have the form of that version
 * STUB_ROCP_REFUSE=KIND:CODE    this kind's service is refused with this status
 * STUB_ROCP_DROP=N              every Nth record is dropped and counted
 * STUB_ROCP_UNKNOWN=1           each record is followed by one of a kind that nobody asked for, and one of another category
 * STUB_ROCP_DAMAGED=1           each record is followed by one whose size cannot be, and by one without a record
 * STUB_ROCP_STUCK=1             flushing never returns
 * STUB_ROCP_BUFFER=BYTES        no more than this of each buffer is used
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "rocm.h"

typedef int status;
typedef struct { uint64_t handle; } handle;
struct header { uint32_t category, kind; void *payload; };
typedef void (*buffer_fn)(handle, handle, struct header **, size_t, void *, uint64_t);
struct client { size_t size; const char *name; uint32_t number; };
struct old_client { const char *name; uint32_t number; };
struct result { size_t size; int (*initialize)(void *, void *); void (*finalize)(void *); void *data; };
struct agent_id { uint64_t handle; };

enum { MOST = 8, KINDS = 24 };
struct buffer { size_t bytes, watermark, used, count; buffer_fn callback; void *data; uint64_t context, dropped, seen;
    uint8_t *memory; struct header *headers, **list; };
struct context { int active, exists; uint32_t buffer_of[KINDS]; uint8_t *left_out[KINDS]; void *symbol_fn; void *symbol_data; };
static struct context contexts[MOST + 1];
static struct buffer buffers[MOST + 1];
static int context_count, buffer_count, is_initializing, is_finalized;
static struct result *tools[MOST];
static int tool_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;       /* the library's state */
static pthread_mutex_t delivering = PTHREAD_MUTEX_INITIALIZER; /* one callback at a time */

static uint64_t now(void) { struct timespec t; clock_gettime(CLOCK_BOOTTIME, &t); return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec; }
static long number(const char *name, long otherwise) { const char *text = getenv(name); return text ? atol(text) : otherwise; }
static uint32_t version(void) { static uint32_t known; if (!known) known = (uint32_t)number("STUB_ROCP_VERSION", 10201); return known; }
static uint64_t tid(void) { return (uint64_t)syscall(SYS_gettid); }

/* Kinds in the order of the version: page migrations went with ROCm 7, so what stands behind has other numbers. */
static const char *OLD[] = {"NONE", "HSA_CORE_API", "HSA_AMD_EXT_API", "HSA_IMAGE_EXT_API", "HSA_FINALIZE_EXT_API",
    "HIP_RUNTIME_API", "HIP_COMPILER_API", "MARKER_CORE_API", "MARKER_CONTROL_API", "MARKER_NAME_API", "MEMORY_COPY",
    "KERNEL_DISPATCH", "PAGE_MIGRATION", "SCRATCH_MEMORY", "CORRELATION_ID_RETIREMENT", "RCCL_API", "OMPT", "MEMORY_ALLOCATION"};
static const char *NEW[] = {"NONE", "HSA_CORE_API", "HSA_AMD_EXT_API", "HSA_IMAGE_EXT_API", "HSA_FINALIZE_EXT_API",
    "HIP_RUNTIME_API", "HIP_COMPILER_API", "MARKER_CORE_API", "MARKER_CONTROL_API", "MARKER_NAME_API", "MEMORY_COPY",
    "KERNEL_DISPATCH", "SCRATCH_MEMORY", "CORRELATION_ID_RETIREMENT", "RCCL_API", "OMPT", "MEMORY_ALLOCATION"};
static int kind_count(void) { return version() >= 10000 ? 17 : version() >= 600 ? 18 : 17; }
static const char *kind_text(int kind) { return kind <= 0 || kind >= kind_count() ? NULL : version() >= 10000 ? NEW[kind] : OLD[kind]; }
static int kind_of(const char *name) { for (int k = 1; k < kind_count(); k++) if (!strcmp(kind_text(k), name)) return k; return 0; }
static const char *HIP[] = {"hipApiName", "hipDeviceSynchronize", "hipEventRecord", "hipExtLaunchKernel", "hipFree",
    "hipGetDevice", "hipGetLastError", "hipLaunchKernel", "hipMalloc", "hipMemcpyAsync", "hipModuleLaunchKernel",
    "hipPeekAtLastError", "hipStreamSynchronize"};
static const char *RCCL[] = {"ncclAllGather", "ncclAllReduce", "ncclGroupEnd", "ncclGroupStart"};
static int shift(void) { return (int)(version() / 100 % 7); } /* functions come and go between versions */
static const char *operation_text(int kind, int operation) {
    const char *name = kind_text(kind);
    operation -= shift();
    if (!name || operation < 0) return NULL;
    if (!strcmp(name, "HIP_RUNTIME_API")) return operation < (int)(sizeof HIP / sizeof *HIP) ? HIP[operation] : NULL;
    if (!strcmp(name, "RCCL_API")) return operation < (int)(sizeof RCCL / sizeof *RCCL) ? RCCL[operation] : NULL;
    return NULL;
}
static int operation_of(int kind, const char *name) {
    for (int o = 0; o < 64; o++) { const char *known = operation_text(kind, o); if (known && !strcmp(known, name)) return o; }
    return -1;
}

status rocprofiler_get_version(uint32_t *major, uint32_t *minor, uint32_t *patch) {
    *major = version() / 10000; *minor = version() / 100 % 100; *patch = version() % 100; return 0;
}
status rocprofiler_get_timestamp(uint64_t *time) { *time = now(); return 0; }
status rocprofiler_create_context(handle *context) {
    if (!is_initializing) return 16;
    if (context->handle) return 13;
    context->handle = (uint64_t)++context_count; contexts[context_count].exists = 1; return 0;
}
status rocprofiler_start_context(handle context) {
    if (context.handle == 0 || context.handle > (uint64_t)context_count) return 2;
    contexts[context.handle].active = 1; return 0;
}
status rocprofiler_stop_context(handle context) {
    if (context.handle == 0 || context.handle > (uint64_t)context_count) return 2;
    contexts[context.handle].active = 0; return 0;
}
status rocprofiler_create_buffer(handle context, size_t bytes, size_t watermark, int policy, buffer_fn callback, void *data, handle *out) {
    if (!is_initializing) return 16;
    if (policy != 2 || out->handle) return 19;
    struct buffer *buffer = &buffers[++buffer_count];
    size_t limit = (size_t)number("STUB_ROCP_BUFFER", (long)bytes);
    buffer->bytes = limit < bytes ? limit : bytes; buffer->watermark = watermark < buffer->bytes ? watermark : buffer->bytes * 3 / 4;
    buffer->callback = callback; buffer->data = data; buffer->context = context.handle;
    buffer->memory = malloc(bytes); buffer->headers = calloc(bytes / 16, sizeof *buffer->headers);
    buffer->list = calloc(bytes / 16, sizeof *buffer->list);
    out->handle = (uint64_t)buffer_count; return 0;
}
/* Gives the callback what the buffer holds. As in rocprofiler, nothing of the library's own is locked against calls. */
static void deliver(struct buffer *buffer) {
    pthread_mutex_lock(&delivering);
    pthread_mutex_lock(&lock);
    size_t count = buffer->count; uint8_t *memory = buffer->memory; struct header *headers = buffer->headers, **list = buffer->list;
    if (count) { /* the other buffer takes what comes meanwhile */
        buffer->memory = malloc(buffer->bytes + 4096); buffer->headers = calloc(buffer->bytes / 16 + 8, sizeof *headers);
        buffer->list = calloc(buffer->bytes / 16 + 8, sizeof *list); buffer->used = buffer->count = 0;
    }
    pthread_mutex_unlock(&lock);
    if (count) {
        for (size_t i = 0; i < count; i++) list[i] = &headers[i];
        buffer->callback((handle){buffer->context}, (handle){1}, list, count, buffer->data, buffer->dropped);
        free(memory); free(headers); free(list);
    }
    pthread_mutex_unlock(&delivering);
}
/* Callbacks come on a thread of the library. */
static struct buffer *asked; static pthread_cond_t wake = PTHREAD_COND_INITIALIZER, done = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER; static int has_thread;
static void *serve(void *unused) {
    (void)unused;
    pthread_mutex_lock(&asking);
    for (;;) {
        while (!asked) pthread_cond_wait(&wake, &asking);
        struct buffer *buffer = asked;
        pthread_mutex_unlock(&asking); deliver(buffer); pthread_mutex_lock(&asking);
        asked = NULL; pthread_cond_broadcast(&done);
    }
    return NULL;
}
static void play_due(int all);
status rocprofiler_flush_buffer(handle id) {
    if (is_finalized) return 21;
    if (id.handle == 0 || id.handle > (uint64_t)buffer_count) return 3;
    if (number("STUB_ROCP_STUCK", 0)) for (;;) pause();
    play_due(0);
    pthread_mutex_lock(&asking);
    if (!has_thread) { pthread_t thread; has_thread = 1; pthread_create(&thread, NULL, serve, NULL); }
    while (asked) pthread_cond_wait(&done, &asking);
    asked = &buffers[id.handle];
    pthread_cond_signal(&wake);
    while (asked) pthread_cond_wait(&done, &asking);
    pthread_mutex_unlock(&asking); return 0;
}
status rocprofiler_configure_buffer_tracing_service(handle context, int kind, const int *operations, size_t count, handle buffer) {
    if (!is_initializing) return 16;
    const char *name = kind_text(kind), *refused = getenv("STUB_ROCP_REFUSE");
    if (!name) return 4;
    size_t length = strlen(name);
    if (refused && !strncmp(refused, name, length) && refused[length] == ':') return atoi(refused + length + 1);
    struct context *c = &contexts[context.handle];
    if (c->buffer_of[kind]) return 15;
    c->buffer_of[kind] = (uint32_t)buffer.handle;
    if (count) {
        c->left_out[kind] = malloc(256); memset(c->left_out[kind], 1, 256);
        for (size_t i = 0; i < count; i++) c->left_out[kind][operations[i]] = 0;
    }
    return 0;
}
static const char *CALLED[] = {"NONE", "HSA_CORE_API", "HSA_AMD_EXT_API", "HSA_IMAGE_EXT_API", "HSA_FINALIZE_EXT_API",
    "HIP_RUNTIME_API", "HIP_COMPILER_API", "MARKER_CORE_API", "MARKER_CONTROL_API", "MARKER_NAME_API", "CODE_OBJECT"};
status rocprofiler_configure_callback_tracing_service(handle context, int kind, const int *operations, size_t count, void *callback, void *data) {
    (void)operations; (void)count;
    if (kind != 10) return 4;
    contexts[context.handle].symbol_fn = callback; contexts[context.handle].symbol_data = data; return 0;
}
status rocprofiler_iterate_buffer_tracing_kinds(int (*each)(int, void *), void *data) { for (int k = 1; k < kind_count(); k++) each(k, data); return 0; }
status rocprofiler_iterate_callback_tracing_kinds(int (*each)(int, void *), void *data) { for (int k = 1; k <= 10; k++) each(k, data); return 0; }
static status say(const char *text, const char **name, uint64_t *length) {
    if (!text) return 5;
    if (name) *name = text;
    if (length) *length = strlen(text);
    return 0;
}
status rocprofiler_query_buffer_tracing_kind_name(int kind, const char **name, uint64_t *length) { return kind_text(kind) ? say(kind_text(kind), name, length) : 4; }
status rocprofiler_query_callback_tracing_kind_name(int kind, const char **name, uint64_t *length) { return kind < 1 || kind > 10 ? 4 : say(CALLED[kind], name, length); }
status rocprofiler_iterate_buffer_tracing_kind_operations(int kind, int (*each)(int, int, void *), void *data) {
    for (int o = 0; o < 64; o++) if (operation_text(kind, o)) each(kind, o, data);
    return 0;
}
status rocprofiler_query_buffer_tracing_kind_operation_name(int kind, int operation, const char **name, uint64_t *length) { return say(operation_text(kind, operation), name, length); }

/* Two GPUs and a processor. */
static uint8_t agents[3][312], banks[2][24];
static void put(uint8_t *at, size_t offset, uint64_t value, size_t bytes) { memcpy(at + offset, &value, bytes); }
#ifndef WITHOUT_AGENTS
status rocprofiler_query_available_agents(uint32_t form, status (*each)(uint32_t, const void **, size_t, void *), size_t bytes, void *data) {
    size_t size = version() >= 600 ? 312 : 288;
    if (form != 1) return 19;
    if (bytes > size) return 18;
    put(banks[0], 0, 0, 4); put(banks[0], 16, 64ull << 30, 8);    /* of the system */
    put(banks[1], 0, 1, 4); put(banks[1], 16, 206141652992ull, 8); /* of the device */
    const void *list[3];
    for (int i = 0; i < 3; i++) {
        uint8_t *a = agents[i];
        int gpu = i > 0;
        put(a, 0, size, 8); put(a, 8, 100 + (uint64_t)i, 8); put(a, 16, gpu ? 2 : 1, 4);
        put(a, 248, (uint64_t)(uintptr_t)(gpu ? "gfx942" : "AMD EPYC"), 8);
        put(a, 264, (uint64_t)(uintptr_t)(gpu ? "Stub AMD Instinct (no device)" : "AMD EPYC"), 8);
        put(a, 280, (uint64_t)i, 4); put(a, 284, (uint64_t)i, 4);
        if (gpu) {
            put(a, 28, 2, 4); put(a, 48, 8, 4); put(a, 52, 64, 4); put(a, 64, 64, 4); put(a, 68, 8, 4); put(a, 72, 304, 4);
            put(a, 92, 4, 4); put(a, 100, 90402, 4); put(a, 108, 0x8500, 4); put(a, 140, 2100, 4);
            put(a, 224, (uint64_t)(uintptr_t)banks, 8);
        }
        list[2 - i] = a; /* in any order */
    }
    return each(form, list, 3, data);
}
#endif

static uint64_t agent(int gpu) { return gpu < 0 ? 100 : 101 + (uint64_t)gpu; }
static void append(int kind, int operation, const uint8_t *record, size_t bytes, uint32_t mask) {
    for (int c = 1; c <= context_count; c++) {
        struct context *context = &contexts[c];
        if (!(mask >> c & 1) || !context->buffer_of[kind]) continue;
        if (context->left_out[kind] && operation >= 0 && context->left_out[kind][operation]) continue;
        struct buffer *buffer = &buffers[context->buffer_of[kind]];
        int is_full;
        for (;;) { /* lossless: whoever is in front of a full buffer has it handed over and waits */
            pthread_mutex_lock(&lock);
            is_full = buffer->used + bytes + 128 > buffer->bytes;
            if (!is_full) break;
            pthread_mutex_unlock(&lock);
            rocprofiler_flush_buffer((handle){context->buffer_of[kind]});
        }
        long drop = number("STUB_ROCP_DROP", 0);
        if (drop && ++buffer->seen % (uint64_t)drop == 0) { buffer->dropped++; pthread_mutex_unlock(&lock); continue; }
        uint8_t *at = buffer->memory + buffer->used;
        memcpy(at, record, bytes);
        put(at, 0, bytes, 8); put(at, 8, (uint64_t)kind, 4); put(at, 12, (uint64_t)(uint32_t)operation, 4);
        buffer->used += bytes;
        buffer->headers[buffer->count++] = (struct header){1, (uint32_t)kind, at};
        if (number("STUB_ROCP_UNKNOWN", 0)) {
            buffer->headers[buffer->count++] = (struct header){1, 99, at};
            buffer->headers[buffer->count++] = (struct header){3, 1, at};
        }
        if (number("STUB_ROCP_DAMAGED", 0)) {
            uint8_t *bad = buffer->memory + buffer->used;
            put(bad, 0, 1ull << 50, 8); buffer->used += 16;
            buffer->headers[buffer->count++] = (struct header){1, (uint32_t)kind, bad};
            buffer->headers[buffer->count++] = (struct header){1, (uint32_t)kind, NULL};
        }
        int is_due = buffer->used >= buffer->watermark;
        pthread_mutex_unlock(&lock);
        if (is_due) rocprofiler_flush_buffer((handle){context->buffer_of[kind]});
    }
}
static uint32_t active(void) { uint32_t mask = 0; for (int c = 1; c <= context_count; c++) if (contexts[c].active) mask |= 1u << c; return mask; }

/* Work of the device is told when it is done, to the contexts that were active when it was launched. */
struct pending { int kind, operation; uint8_t bytes[192]; size_t size; uint64_t due; uint32_t mask; };
static struct pending *pending; static size_t pending_len, pending_room;
static pthread_mutex_t waiting = PTHREAD_MUTEX_INITIALIZER;
static void later(struct pending work) {
    work.mask = active();
    if (!work.mask) return;
    pthread_mutex_lock(&waiting);
    if (pending_len == pending_room) pending = realloc(pending, (pending_room = pending_room * 2 + 64) * sizeof *pending);
    pending[pending_len++] = work;
    pthread_mutex_unlock(&waiting);
}
static void play_due(int all) {
    uint64_t time = now();
    pthread_mutex_lock(&waiting);
    size_t kept = 0, taken = 0;
    struct pending *due = malloc((pending_len + 1) * sizeof *due);
    for (size_t i = 0; i < pending_len; i++) {
        if (all || pending[i].due <= time) due[taken++] = pending[i]; else pending[kept++] = pending[i];
    }
    pending_len = kept;
    pthread_mutex_unlock(&waiting);
    for (size_t i = 0; i < taken; i++) append(due[i].kind, due[i].operation, due[i].bytes, due[i].size, due[i].mask);
    free(due);
}

static __thread struct { uint64_t id, start; int kind, operation; } stack[16];
static __thread int depth;
static uint64_t next_id(void) { static uint64_t last; return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED); }
static uint64_t enter(const char *kind, const char *operation) {
    int k = kind_of(kind);
    stack[depth].id = next_id(); stack[depth].start = now(); stack[depth].kind = k;
    stack[depth].operation = operation_of(k, operation);
    return stack[depth++].id;
}
static void leave(void) {
    uint8_t r[64] = {0};
    int is_new = version() >= 10000;
    depth--;
    put(r, 16, stack[depth].id, 8);
    if (is_new && depth) put(r, 32, stack[depth - 1].id, 8);
    size_t at = is_new ? 40 : 32;
    put(r, at, stack[depth].start, 8); put(r, at + 8, now(), 8); put(r, at + 16, tid(), 8);
    append(stack[depth].kind, stack[depth].operation, r, is_new ? 64 : 56, active());
}
static uint64_t current(void) { return depth ? stack[depth - 1].id : 0; }
struct called { uint64_t context, thread, correlation[3]; uint32_t kind; int operation; uint32_t phase; void *payload; };
struct old_called { uint64_t context, thread, correlation[2]; uint32_t kind; int operation; uint32_t phase; void *payload; };
static void symbol(uint64_t kernel, const char *name, uint32_t vgprs, uint32_t group_bytes) {
    uint8_t r[96] = {0};
    uint64_t user = 0;
    put(r, 0, 96, 8); put(r, 8, kernel, 8); put(r, 24, (uint64_t)(uintptr_t)name, 8); put(r, 48, group_bytes, 4); put(r, 60, vgprs, 4);
    for (int c = 1; c <= context_count; c++) {
        if (!contexts[c].symbol_fn || !contexts[c].active) continue;
        if (version() >= 10000) {
            struct called record = {(uint64_t)c, tid(), {0}, 10, 2, 1, r};
            ((void (*)(struct called, void *, void *))contexts[c].symbol_fn)(record, &user, contexts[c].symbol_data);
        } else {
            struct old_called record = {(uint64_t)c, tid(), {0}, 10, 2, 1, r};
            ((void (*)(struct old_called, void *, void *))contexts[c].symbol_fn)(record, &user, contexts[c].symbol_data);
        }
    }
}
static void kernel(uint64_t id, int gpu, uint64_t queue, uint64_t start, uint64_t end, uint32_t blocks, uint32_t threads, uint32_t group_bytes) {
    struct pending w = {.kind = kind_of("KERNEL_DISPATCH"), .operation = 2, .size = version() >= 10305 ? 192 : 184, .due = end};
    uint8_t *r = w.bytes;
    put(r, 16, current(), 8); put(r, 32, tid(), 8); put(r, 40, start, 8); put(r, 48, end, 8); put(r, 56, 72, 8);
    put(r, 64, agent(gpu), 8); put(r, 72, queue, 8); put(r, 80, id, 8); put(r, 88, next_id(), 8); put(r, 100, group_bytes, 4);
    put(r, 104, threads, 4); put(r, 108, 1, 4); put(r, 112, 1, 4);
    put(r, 116, (uint64_t)blocks * threads, 4); put(r, 120, 1, 4); put(r, 124, 1, 4);
    later(w);
}
static void copy(int from, int to, uint64_t bytes, uint64_t start, uint64_t end) {
    struct pending w = {.kind = kind_of("MEMORY_COPY"), .operation = from < 0 ? (to < 0 ? 1 : 2) : (to < 0 ? 3 : 4),
        .size = version() >= 600 ? 96 : 80, .due = end};
    uint8_t *r = w.bytes;
    put(r, 16, current(), 8); put(r, 32, tid(), 8); put(r, 40, start, 8); put(r, 48, end, 8);
    put(r, 56, agent(to), 8); put(r, 64, agent(from), 8); put(r, 72, bytes, 8);
    later(w);
}
static void memory(int operation, int gpu, uint64_t address, uint64_t bytes) {
    int kind = kind_of("MEMORY_ALLOCATION");
    uint8_t r[96] = {0};
    size_t at = version() >= 10000 ? 40 : 32;
    if (!kind) return;
    put(r, 16, current(), 8); put(r, at, tid(), 8); put(r, at + 8, now(), 8); put(r, at + 16, now(), 8);
    /* What is given back says neither whose it was nor how much. */
    put(r, at + 24, operation > 2 ? 0 : agent(gpu), 8); put(r, at + 32, address, 8); put(r, at + 40, operation > 2 ? 0 : bytes, 8);
    append(kind, operation, r, at + 48, active());
}
static void scratch(int operation, int gpu, uint64_t duration) {
    uint8_t r[96] = {0};
    uint32_t v = version();
    size_t at = v >= 10000 ? 40 : v >= 600 ? 32 : 16, bytes = v >= 10201 ? 96 : v >= 10000 ? 88 : 80;
    uint64_t start = now();
    put(r, at, agent(gpu), 8); put(r, at + 8, 1, 8); put(r, at + 16, tid(), 8); put(r, at + 24, start - duration, 8); put(r, at + 32, start, 8);
    append(kind_of("SCRATCH_MEMORY"), operation, r, bytes, active());
}

static void finalize(void) {
    /* As the real one: what is about to end is waited for, then tools are told. What runs on is never told. */
    uint64_t until = now() + 200000000ull;
    for (;;) {
        play_due(0);
        int is_near = 0;
        pthread_mutex_lock(&waiting);
        for (size_t i = 0; i < pending_len; i++) if (pending[i].due <= until) is_near = 1;
        pthread_mutex_unlock(&waiting);
        if (!is_near) break;
        usleep(1000);
    }
    for (int i = 0; i < tool_count; i++) if (tools[i] && tools[i]->finalize) tools[i]->finalize(tools[i]->data);
    is_finalized = 1;
}
static void take_tool(void *image) {
    struct result *(*configure)(uint32_t, const char *, uint32_t, void *);
    configure = (struct result *(*)(uint32_t, const char *, uint32_t, void *))dlsym(image, "rocprofiler_configure");
    static void *seen[MOST]; static int seen_count;
    for (int i = 0; i < seen_count; i++) if (seen[i] == (void *)configure) return;
    if (!configure) return;
    seen[seen_count++] = (void *)configure;
    struct client client = {sizeof client, NULL, (uint32_t)tool_count};
    struct old_client old = {NULL, (uint32_t)tool_count};
    struct result *result = configure(version(), "stub", (uint32_t)tool_count, version() >= 10000 ? (void *)&client : (void *)&old);
    const char *name = version() >= 10000 ? client.name : old.name;
    if (getenv("STUB_ROCP_TELL")) fprintf(stderr, "stub: tool %d is %s, %s\n", tool_count, name ? name : "nameless", result ? "active" : "idle");
    if (result && result->size != sizeof *result) abort();
    if (result) tools[tool_count++] = result;
}
int rocprofiler_set_api_table(const char *name, uint64_t lib_version, uint64_t instance, void **tables, uint64_t count) {
    (void)name; (void)lib_version; (void)instance; (void)count;
    static int is_set_up;
    if (!is_set_up) {
        is_set_up = 1;
        atexit(finalize);
        take_tool(RTLD_DEFAULT); /* what is loaded for all */
        /* The parser of the real one: what stands behind the last colon is forgotten. */
        char list[8192];
        snprintf(list, sizeof list, "%s", getenv("ROCP_TOOL_LIBRARIES") ? getenv("ROCP_TOOL_LIBRARIES") : "");
        if (*list && !strchr(list, ':')) {
            void *image = dlopen(list, RTLD_GLOBAL | RTLD_LAZY);
            if (!image) { fprintf(stderr, "stub: cannot load %s\n", list); abort(); }
            take_tool(image);
        }
        else for (char *at = list, *colon; (colon = strchr(at, ':')); at = colon + 1) {
            *colon = 0;
            if (!*at) continue;
            void *image = dlopen(at, RTLD_GLOBAL | RTLD_LAZY);
            if (!image) { fprintf(stderr, "stub: cannot load %s\n", at); abort(); }
            take_tool(image);
        }
        is_initializing = 1;
        for (int i = 0; i < tool_count; i++) if (tools[i]->initialize && tools[i]->initialize(NULL, tools[i]->data) != 0) tools[i] = NULL;
        is_initializing = 0;
    }
    *(struct stub_hooks *)tables[0] = (struct stub_hooks){enter, leave, symbol, kernel, copy, memory, scratch};
    return 0;
}
