/* STUB of libcupti: see stub.h. Built by the tests as libcupti.so.13.
 *
 * STUB_CUPTI_VERSION=N          what cuptiGetVersion says; records have the length of that version
 * STUB_CUPTI_SUBSCRIBE=CODE     cuptiSubscribe fails with this
 * STUB_CUPTI_HOLDER=NAME        who has the subscription then, as cuptiSubscribe_v2 tells it
 * STUB_CUPTI_REFUSE=KIND:CODE   cuptiActivityEnable of this kind fails with this
 * STUB_CUPTI_OWN_CLOCK=1        the timestamp callback is refused: times are CLOCK_REALTIME
 * STUB_CUPTI_BUFFER=BYTES       no more than this of each buffer is used
 * STUB_CUPTI_DROP=N             every Nth record is dropped and counted
 * STUB_CUPTI_STUCK=1            cuptiActivityFlushAll never returns when forced
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "stub.h"

typedef int result;
typedef uint64_t (*clock_fn)(void);
typedef void (*requested_fn)(uint8_t **, size_t *, size_t *);
typedef void (*completed_fn)(void *, uint32_t, uint8_t *, size_t, size_t);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static requested_fn requested;
static completed_fn completed;
static clock_fn own_clock;
static uint8_t enabled[64];
static uint8_t noise[3][1024];
static int subscribed;
static uint8_t *buffer;
static size_t buffer_bytes, used;
static size_t dropped, seen;
static struct stub_record *pending;
static size_t pending_len, pending_room;
static __thread int in_callback;

static uint64_t ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}
static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}
static uint32_t version(void) {
    static uint32_t known;
    if (!known) known = (uint32_t)number("STUB_CUPTI_VERSION", 130500);
    return known;
}

/* Lengths of records from the headers of the versions, newest last. */
static size_t size_of(uint32_t kind) {
    uint32_t v = version();
    switch (kind) {
    case 1: return v >= 130500 ? 112 : v >= 26 ? 96 : 88;
    case 2: return v >= 130500 ? 104 : 88;
    case 4: case 5: return 40;
    case 8: return v >= 130500 ? 192 : v >= 22 ? 184 : 176;
    case 9: return v >= 130101 ? 40 : v >= 24 ? 32 : v >= 22 ? 24 : 16;
    case 10: return v >= 130500 ? 248 : v >= 130101 ? 224 : v >= 130000 ? 216 : 208;
    case 17: return v >= 22 ? 56 : 40;
    case 22: return 96;
    case 36: return v >= 130500 ? 80 : v >= 26 ? 56 : 24;
    case 37: case 39: return 24;
    case 38: return v >= 26 ? 56 : 40;
    case 49: return v >= 24 ? 128 : 120;
    case 50: return v >= 130000 ? 80 : 72;
    case 51: return v >= 22 ? 56 : 48;
    case 52: return v >= 22 ? 72 : 64;
    default: return 0;
    }
}

/* A time of the stub's clock on the clock that records carry. Both are read together: they differ by one offset and,
 * for ticks, by a rate that is measured once. */
static uint64_t convert(uint64_t at_ns) {
    if (at_ns == 0) return 0;
    uint64_t now_ns = ns(CLOCK_MONOTONIC);
    if (!own_clock) {
        static uint64_t offset_ns;
        if (!offset_ns) offset_ns = ns(CLOCK_REALTIME) - now_ns;
        return at_ns + offset_ns;
    }
    static double rate;
    static uint64_t first_ns, first;
    if (!first_ns) { first_ns = now_ns; first = own_clock(); }
    uint64_t now = own_clock();
    now_ns = ns(CLOCK_MONOTONIC);
    if (now_ns - first_ns > 2000000 || rate == 0) {
        if (rate == 0) { usleep(3000); now = own_clock(); now_ns = ns(CLOCK_MONOTONIC); }
        rate = (double)(now - first) / (double)(now_ns - first_ns);
    }
    return now - (uint64_t)((double)(now_ns - at_ns) * rate);
}

static void give_back(void) {
    if (!buffer) return;
    uint8_t *full = buffer;
    size_t bytes = buffer_bytes, valid = used;
    buffer = NULL;
    /* As in CUPTI, the callback comes while a lock is held. */
    in_callback = 1;
    completed(NULL, 0, full, bytes, valid);
    in_callback = 0;
}

static void append(const struct stub_record *record, int is_complete) {
    uint32_t kind;
    memcpy(&kind, record->bytes, 4);
    size_t size = size_of(kind);
    if (kind >= 64 || !enabled[kind] || size == 0) return;
    if (kind == 4 || kind == 5) {
        uint32_t callback;
        memcpy(&callback, record->bytes + 4, 4);
        if (callback < 1024 && noise[kind == 4 ? 1 : 2][callback]) return;
    }
    long drop = number("STUB_CUPTI_DROP", 0);
    if (drop > 0 && ++seen % (size_t)drop == 0) { dropped++; return; }
    if (buffer && used + size > buffer_bytes) give_back();
    if (!buffer) {
        size_t most = 0;
        in_callback = 1;
        requested(&buffer, &buffer_bytes, &most);
        in_callback = 0;
        if (!buffer) { dropped++; return; }
        size_t limit = (size_t)number("STUB_CUPTI_BUFFER", (long)buffer_bytes);
        if (limit < buffer_bytes) buffer_bytes = limit;
        memset(buffer, 0, buffer_bytes);
        used = 0;
    }
    uint8_t copy[256];
    memcpy(copy, record->bytes, sizeof copy);
    if (record->start_at >= 0) put64(copy, (size_t)record->start_at, convert(record->start_ns));
    if (record->end_at >= 0) put64(copy, (size_t)record->end_at, is_complete ? convert(record->end_ns) : 0);
    memcpy(buffer + used, copy, size);
    used += size;
}

/* Called by the stub driver. */
void stub_cupti_take(const struct stub_record *record) {
    pthread_mutex_lock(&lock);
    if (requested) {
        if (record->end_ns <= ns(CLOCK_MONOTONIC)) {
            append(record, 1);
        } else {
            uint32_t kind;
            memcpy(&kind, record->bytes, 4);
            if (kind < 64 && enabled[kind]) {
                if (pending_len == pending_room) {
                    pending_room = pending_room ? 2 * pending_room : 1024;
                    pending = realloc(pending, pending_room * sizeof *pending);
                }
                pending[pending_len++] = *record;
            }
        }
    }
    pthread_mutex_unlock(&lock);
}

result cuptiGetVersion(uint32_t *out) { *out = version(); return 0; }
result cuptiGetTimestamp(uint64_t *out) { *out = own_clock ? own_clock() : ns(CLOCK_REALTIME); return 0; }
result cuptiSubscribe(void **out, void *callback, void *user) {
    (void)callback; (void)user;
    long code = number("STUB_CUPTI_SUBSCRIBE", 0);
    if (code) return (result)code;
    if (subscribed) return 39;
    subscribed = 1;
    *out = &subscribed;
    return 0;
}
struct params { size_t size; const char *name; char *old; size_t old_bytes; uint8_t multiple; uint8_t pad[7]; };
result cuptiSubscribe_v2(void **out, void *callback, void *user, struct params *params) {
    const char *holder = getenv("STUB_CUPTI_HOLDER");
    result code = cuptiSubscribe(out, callback, user);
    if (code == 39 && holder && params->old_bytes >= 64) snprintf(params->old, params->old_bytes, "%s", holder);
    return code;
}
result cuptiUnsubscribe(void *subscriber) { (void)subscriber; subscribed = 0; return 0; }
result cuptiActivityRegisterTimestampCallback(clock_fn clock) {
    if (number("STUB_CUPTI_OWN_CLOCK", 0)) return 11;
    own_clock = clock;
    return 0;
}
result cuptiSetThreadIdType(uint32_t type) { return type == 1 ? 0 : 1; }
result cuptiActivityRegisterCallbacks(requested_fn r, completed_fn c) {
    pthread_mutex_lock(&lock);
    requested = r;
    completed = c;
    pthread_mutex_unlock(&lock);
    return 0;
}
result cuptiActivityEnable(uint32_t kind) {
    const char *refuse = getenv("STUB_CUPTI_REFUSE");
    unsigned which, code;
    if (refuse && sscanf(refuse, "%u:%u", &which, &code) == 2 && which == kind) return (result)code;
    if (kind >= 64 || size_of(kind) == 0) return 21;
    /* Called with a lock of the tool held, a callback on another thread could wait for ever; the stub would, too. */
    pthread_mutex_lock(&lock);
    enabled[kind] = 1;
    pthread_mutex_unlock(&lock);
    return 0;
}
result cuptiActivityDisable(uint32_t kind) {
    if (kind >= 64) return 21;
    pthread_mutex_lock(&lock);
    enabled[kind] = 0;
    pthread_mutex_unlock(&lock);
    return 0;
}
result cuptiActivityEnableRuntimeApi(uint32_t callback, uint8_t on) { if (callback < 1024) noise[2][callback] = !on; return 0; }
result cuptiActivityEnableDriverApi(uint32_t callback, uint8_t on) { if (callback < 1024) noise[1][callback] = !on; return 0; }
result cuptiActivityFlushAll(uint32_t flag) {
    if (in_callback) { fprintf(stderr, "stub: a flush from inside a callback\n"); abort(); }
    if (flag == 1 && number("STUB_CUPTI_STUCK", 0)) for (;;) sleep(1000);
    pthread_mutex_lock(&lock);
    if (requested) {
        uint64_t now = ns(CLOCK_MONOTONIC);
        size_t left = 0;
        for (size_t i = 0; i < pending_len; i++) {
            if (pending[i].end_ns <= now) append(&pending[i], 1);
            else if (flag == 1) append(&pending[i], 0);
            else pending[left++] = pending[i];
        }
        pending_len = left;
        if (buffer && used > 0) give_back();
    }
    pthread_mutex_unlock(&lock);
    return 0;
}
result cuptiActivityGetNextRecord(uint8_t *from, size_t valid, uint8_t **record) {
    uint8_t *next = from;
    if (*record) {
        uint32_t kind;
        memcpy(&kind, *record, 4);
        size_t size = size_of(kind);
        if (!size) return 21;
        next = *record + size;
    }
    if (next >= from + valid) return 12;
    *record = next;
    return 0;
}
result cuptiActivityGetNumDroppedRecords(void *context, uint32_t stream, size_t *out) {
    (void)context; (void)stream;
    /* Comes from inside a callback, where the lock is held. */
    *out = dropped;
    dropped = 0;
    return 0;
}
result cuptiGetCallbackName(uint32_t domain, uint32_t callback, const char **name) {
    static const struct { uint32_t domain, callback; const char *name; } names[] = {
        {2, 211, "cudaLaunchKernel_v7000"}, {2, 311, "cudaGraphLaunch_v10000"}, {2, 41, "cudaMemcpyAsync_v3020"},
        {2, 51, "cudaMemsetAsync_v3020"}, {2, 131, "cudaStreamSynchronize_v3020"}, {2, 165, "cudaDeviceSynchronize_v3020"},
        {2, 135, "cudaEventRecord_v3020"}, {2, 137, "cudaEventSynchronize_v3020"}, {2, 147, "cudaStreamWaitEvent_v3020"},
        {2, 20, "cudaMalloc_v3020"}, {2, 22, "cudaFree_v3020"}, {2, 17, "cudaGetDevice_v3020"},
        {1, 307, "cuLaunchKernel"}, {1, 304, "cuCtxGetCurrent"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].domain == domain && names[i].callback == callback) { *name = names[i].name; return 0; }
    return 1;
}
