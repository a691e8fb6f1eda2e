/* STUB of libcuda, with calls of its own in place of a runtime: see stub.h. Built by the tests as libcuda.so.1.
 *
 * Streams of a device that is not there: work of a stream begins when its call is made and the work before it is done,
 * and takes as long as it is said to. cuInit loads what CUDA_INJECTION64_PATH names, as the driver does.
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
#include "stub.h"

#define STREAMS 64
#define EVENTS 64
#define LATENCY_NS 4000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t free_at[STREAMS];
static struct { uint64_t at, id; uint32_t stream, correlation; } events[EVENTS];
static uint64_t recordings;
static uint32_t correlation;
static uint64_t grid_id;
static int injected;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}
static void wait_until(uint64_t at) {
    struct timespec t = {(time_t)(at / 1000000000ull), (long)(at % 1000000000ull)};
    while (now() < at) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}
static void give(const struct stub_record *record) {
    static stub_take take;
    if (!take) {
        void *cupti = dlopen("libcupti.so.13", RTLD_LAZY | RTLD_NOLOAD);
        if (!cupti) return;
        take = (stub_take)dlsym(cupti, "stub_cupti_take");
        if (!take) return;
    }
    take(record);
}
static struct stub_record fresh(uint32_t kind, int start_at, int end_at) {
    struct stub_record record;
    memset(&record, 0, sizeof record);
    record.start_at = start_at;
    record.end_at = end_at;
    put32(record.bytes, 0, kind);
    return record;
}

int cuDriverGetVersion(int *version) {
    const char *text = getenv("STUB_CUDA_VERSION");
    *version = text ? atoi(text) : 13050;
    return 0;
}
int cuInit(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    int first = !injected;
    injected = 1;
    pthread_mutex_unlock(&lock);
    const char *path = getenv("CUDA_INJECTION64_PATH");
    if (!first || !path || !*path) return 0;
    void *tool = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!tool) { fprintf(stderr, "stub: %s\n", dlerror()); return 0; }
    int (*initialize)(void) = (int (*)(void))dlsym(tool, "InitializeInjection");
    if (initialize) initialize();
    return 0;
}

/* A device and a context, as CUPTI tells of them when a context is made. */
void stub_context(void) {
    struct stub_record record = fresh(8, -1, -1);
    static const char *name = "Stub GPU (no device)";
    put64(record.bytes, 8, 3352000000ull);
    put64(record.bytes, 16, 85ull << 30);
    put32(record.bytes, 44, 132);
    put32(record.bytes, 52, 64);
    put32(record.bytes, 104, 9);
    put32(record.bytes, 108, 0);
    put32(record.bytes, 112, 0);
    for (int i = 0; i < 16; i++) put8(record.bytes, 120 + (size_t)i, (uint8_t)(0xa0 + i));
    memcpy(record.bytes + 136, &name, sizeof name);
    give(&record);
    record = fresh(9, -1, -1);
    put32(record.bytes, 4, 1);
    put32(record.bytes, 8, 0);
    put16(record.bytes, 12, 1);
    put16(record.bytes, 14, 7);
    give(&record);
}

void stub_set_correlation(uint32_t next) { correlation = next - 1; }

static uint32_t begin(void) { return __atomic_add_fetch(&correlation, 1, __ATOMIC_RELAXED); }
static void call_of(uint32_t kind, uint32_t callback, uint32_t id, uint64_t start, uint64_t end) {
    struct stub_record record = fresh(kind, 8, 16);
    put32(record.bytes, 4, callback);
    put32(record.bytes, 24, (uint32_t)getpid());
    put32(record.bytes, 28, (uint32_t)syscall(SYS_gettid));
    put32(record.bytes, 32, id);
    record.start_ns = start;
    record.end_ns = end;
    give(&record);
}
static void runtime(uint32_t callback, uint32_t id, uint64_t start) { call_of(5, callback, id, start, now()); }

/* Takes a place on a stream: when work that was launched at `at` begins, and when it ends. */
static uint64_t place(uint32_t stream, uint64_t at, uint64_t dur, uint64_t *end) {
    pthread_mutex_lock(&lock);
    uint64_t *busy = &free_at[stream % STREAMS];
    uint64_t start = at + LATENCY_NS > *busy ? at + LATENCY_NS : *busy;
    *end = *busy = start + dur;
    pthread_mutex_unlock(&lock);
    return start;
}
static void kernel(const char *name, uint32_t stream, uint32_t id, uint64_t start, uint64_t end, uint32_t graph, uint64_t node) {
    struct stub_record record = fresh(10, 16, 24);
    uint8_t *b = record.bytes;
    put16(b, 6, 64);
    put32(b, 40, 0);
    put32(b, 44, 1);
    put32(b, 48, stream);
    put32(b, 52, 132); put32(b, 56, 2); put32(b, 60, 1);
    put32(b, 64, 256); put32(b, 68, 1); put32(b, 72, 1);
    put32(b, 76, 1024); put32(b, 80, 49152);
    put32(b, 92, id);
    put64(b, 96, __atomic_add_fetch(&grid_id, 1, __ATOMIC_RELAXED));
    memcpy(b + 104, &name, sizeof name);
    put64(b, 144, node);
    put32(b, 156, graph);
    put32(b, 168, 3); put32(b, 172, 1);
    put32(b, 176, 2); put32(b, 180, 1); put32(b, 184, 1);
    record.start_ns = start;
    record.end_ns = end;
    give(&record);
}
uint32_t stub_launch(const char *name, uint32_t stream, uint64_t dur) {
    uint32_t id = begin();
    uint64_t start = now(), end, at = place(stream, start, dur, &end);
    kernel(name, stream, id, at, end, 0, 0);
    runtime(211, id, start);
    return id;
}
/* A kernel for whose times the device had no memory. */
void stub_launch_without_times(const char *name, uint32_t stream) {
    uint32_t id = begin();
    uint64_t start = now();
    kernel(name, stream, id, 0, 0, 0, 0);
    runtime(211, id, start);
}
/* One launch, `count` kernels, every other one beside the one before it. */
uint32_t stub_graph(const char *name, uint32_t stream, uint32_t count, uint64_t dur) {
    uint32_t id = begin();
    uint64_t start = now();
    for (uint32_t i = 0; i < count; i++) {
        uint64_t end, at = place(stream, start, dur, &end);
        if (i % 2) at -= dur / 2, end -= dur / 2;
        kernel(name, stream, id, at, end, 5, (5ull << 32) + i);
    }
    runtime(311, id, start);
    return id;
}
void stub_copy(uint8_t kind, uint8_t from, uint8_t to, uint64_t bytes, uint32_t stream, uint64_t dur) {
    uint32_t id = begin();
    uint64_t start = now(), end, at = place(stream, start, dur, &end);
    struct stub_record record = fresh(1, 16, 24);
    uint8_t *b = record.bytes;
    put8(b, 4, kind); put8(b, 5, from); put8(b, 6, to); put8(b, 7, 1);
    put64(b, 8, bytes);
    put32(b, 36, 1); put32(b, 40, stream); put32(b, 44, id);
    record.start_ns = at;
    record.end_ns = end;
    give(&record);
    runtime(41, id, start);
}
void stub_copy_peer(uint64_t bytes, uint32_t stream, uint64_t dur) {
    uint32_t id = begin();
    uint64_t start = now(), end, at = place(stream, start, dur, &end);
    struct stub_record record = fresh(22, 16, 24);
    uint8_t *b = record.bytes;
    put8(b, 4, 10); put8(b, 5, 3); put8(b, 6, 3); put8(b, 7, 1);
    put64(b, 8, bytes);
    put32(b, 36, 1); put32(b, 40, stream); put32(b, 44, 0); put32(b, 52, 1); put32(b, 60, id);
    record.start_ns = at;
    record.end_ns = end;
    give(&record);
    runtime(41, id, start);
}
void stub_fill(uint64_t bytes, uint32_t stream, uint64_t dur) {
    uint32_t id = begin();
    uint64_t start = now(), end, at = place(stream, start, dur, &end);
    struct stub_record record = fresh(2, 16, 24);
    uint8_t *b = record.bytes;
    put32(b, 4, 0); put64(b, 8, bytes);
    put32(b, 36, 1); put32(b, 40, stream); put32(b, 44, id); put16(b, 48, 1); put16(b, 50, 3);
    record.start_ns = at;
    record.end_ns = end;
    give(&record);
    runtime(51, id, start);
}
void stub_record_event(uint32_t event, uint32_t stream) {
    uint32_t id = begin();
    uint64_t start = now();
    pthread_mutex_lock(&lock);
    uint64_t number = ++recordings;
    events[event % EVENTS].at = free_at[stream % STREAMS];
    events[event % EVENTS].id = number;
    events[event % EVENTS].stream = stream;
    events[event % EVENTS].correlation = id;
    pthread_mutex_unlock(&lock);
    struct stub_record record = fresh(36, -1, -1);
    uint8_t *b = record.bytes;
    put32(b, 4, id); put32(b, 8, 1); put32(b, 12, stream); put32(b, 16, event); put64(b, 48, number);
    give(&record);
    runtime(135, id, start);
}
static void sync_record(uint32_t type, uint32_t id, uint32_t stream, uint32_t event, uint64_t number, uint64_t start, uint64_t end) {
    struct stub_record record = fresh(38, 8, 16);
    uint8_t *b = record.bytes;
    put32(b, 4, type); put32(b, 24, id); put32(b, 28, 1); put32(b, 32, stream); put32(b, 36, event); put64(b, 40, number);
    record.start_ns = start < end ? start : end;
    record.end_ns = end;
    give(&record);
}
void stub_event_synchronize(uint32_t event) {
    uint32_t id = begin();
    uint64_t start = now();
    wait_until(events[event % EVENTS].at);
    sync_record(1, id, UINT32_MAX, event, events[event % EVENTS].id, start + 500, now());
    runtime(137, id, start);
}
void stub_stream_wait_event(uint32_t stream, uint32_t event) {
    uint32_t id = begin();
    uint64_t start = now();
    pthread_mutex_lock(&lock);
    uint64_t *busy = &free_at[stream % STREAMS];
    if (events[event % EVENTS].at > *busy) *busy = events[event % EVENTS].at;
    pthread_mutex_unlock(&lock);
    sync_record(2, id, stream, event, events[event % EVENTS].id, start + 300, now());
    runtime(147, id, start);
}
void stub_stream_synchronize(uint32_t stream) {
    uint32_t id = begin();
    uint64_t start = now();
    wait_until(free_at[stream % STREAMS]);
    sync_record(3, id, stream, 0, 0, start + 500, now());
    runtime(131, id, start);
}
void stub_device_synchronize(void) {
    uint32_t id = begin();
    uint64_t start = now();
    for (int i = 0; i < STREAMS; i++) wait_until(free_at[i]);
    sync_record(4, id, UINT32_MAX, 0, 0, start + 500, now());
    runtime(165, id, start);
}
void stub_memory(int is_release, uint64_t address, uint64_t bytes) {
    uint32_t id = begin();
    uint64_t start = now();
    struct stub_record record = fresh(49, 32, -1);
    uint8_t *b = record.bytes;
    put32(b, 4, is_release ? 2 : 1); put32(b, 8, 3); put32(b, 12, id); put64(b, 16, address); put64(b, 24, bytes);
    put32(b, 48, (uint32_t)getpid()); put32(b, 56, 1);
    record.start_ns = record.end_ns = now();
    give(&record);
    runtime(is_release ? 22 : 20, id, start);
}
/* A call that says nothing, and a driver call in a runtime call. */
void stub_noise(void) {
    uint64_t start = now();
    call_of(5, 17, begin(), start, now());
    call_of(4, 304, begin(), start, now());
}
void stub_launch_by_driver(const char *name, uint32_t stream, uint64_t dur) {
    uint32_t id = begin();
    uint64_t start = now(), end, at = place(stream, start, dur, &end);
    kernel(name, stream, id, at, end, 0, 0);
    call_of(4, 307, id, start + 100, now());
    runtime(211, id, start);
}
void stub_external(uint32_t kind, uint64_t value) {
    struct stub_record record = fresh(39, -1, -1);
    put32(record.bytes, 4, kind); put64(record.bytes, 8, value); put32(record.bytes, 16, correlation + 1);
    give(&record);
}
void stub_overhead(uint32_t kind, uint64_t dur) {
    struct stub_record record = fresh(17, 24, 32);
    uint8_t *b = record.bytes;
    put32(b, 4, kind); put32(b, 8, 2); put32(b, 12, (uint32_t)getpid()); put32(b, 16, (uint32_t)syscall(SYS_gettid));
    record.start_ns = now() - dur;
    record.end_ns = now();
    give(&record);
}
