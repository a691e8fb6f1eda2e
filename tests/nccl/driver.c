// Plays NCCL to a profiler plugin: the calls that NCCL 2.32 makes, in its order, without NCCL and without a GPU. It proves
// what the plugin does with them, nothing about NCCL.
//
//   driver PLUGIN VERSION RANK SIZE SCENARIO [NCCL OFFSET]
//
// With NCCL and the offset of its getNcclProfiler_vVERSION, the calls go through NCCL's own adapter to that version; else
// VERSION is 7, or with the scenario "old" 1 to 3.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    GROUP = 1, COLL = 2, P2P = 4, PROXY_OP = 8, PROXY_STEP = 16, KERNEL_CH = 64, NET = 128, GROUP_API = 256,
    COLL_API = 512, P2P_API = 1024, LAUNCH = 2048, CE_COLL = 4096, PHASE = 32768
};

// Version 7.
typedef struct {
    uint64_t type;
    void *parent;
    int rank;
    union {
        struct { bool captured; int depth; } group_api;
        struct { const char *func; size_t count; const char *datatype; int root; void *stream; bool captured; uint64_t tag; } coll_api;
        struct { const char *func; size_t count; const char *datatype; void *stream; bool captured; uint64_t tag; } p2p_api;
        struct { void *stream; } launch;
        struct {
            uint64_t seq; const char *func; const void *send; void *recv; size_t count; int root; const char *datatype;
            uint8_t channels, warps; const char *algo, *proto; void *group; const char *variant; bool symmetric; uint64_t tag;
        } coll;
        struct { const char *func; void *buff; const char *datatype; size_t count; int peer; uint8_t channels; void *group; uint64_t tag; } p2p;
        struct { pid_t pid; uint8_t channel; int peer, steps, chunk, is_send; } proxy_op;
        struct { int step; } proxy_step;
        struct { uint8_t channel; uint64_t timer; } kernel_ch;
        struct { int64_t id; void *data; } net;
        struct {
            uint64_t seq; const char *func; const void *send; void *recv; size_t count; int root; const char *datatype;
            const char *strategy; bool intra; uint32_t batch, batches, ce_seq; void *stream; uint64_t tag;
        } ce_coll;
        struct { uint8_t channel, phase; const char *name; uint64_t timer; } phase;
    };
} event;

typedef struct {
    const char *name;
    int (*init)(void **, uint64_t, int *, const char *, int, int, int, void *);
    int (*start)(void *, void **, event *);
    int (*stop)(void *);
    int (*state)(void *, int, void *);
    int (*finalize)(void *);
} profiler;

// Versions 1 to 3, as far as they differ.
typedef struct {
    const char *name;
    int (*init)(void **, int *);
    int (*start)(void *, void **, void *);
    int (*stop)(void *);
    int (*state)(void *, int, void *);
    int (*finalize)(void *);
} old_profiler;
typedef struct {
    uint8_t type;
    void *parent;
    int rank;
    union {
        struct {
            const char *name; uint64_t hash, seq; uint8_t func; const void *send; void *recv; size_t count; int root;
            uint8_t datatype; uint32_t op; size_t traffic; uint8_t channels, warps, algo, proto; int collnet, nvls;
        } coll;
        struct { const char *name; uint64_t hash; uint8_t func; void *buff; uint8_t datatype; size_t count; int peer; } p2p;
    };
} event1;
typedef struct {
    uint8_t type;
    void *parent;
    int rank;
    union {
        struct {
            const char *name; uint64_t hash, seq; const char *func; const void *send; void *recv; size_t count; int root;
            const char *datatype; size_t traffic; uint8_t channels, warps; const char *algo, *proto;
        } coll;
        struct { const char *name; uint64_t hash; const char *func; void *buff; const char *datatype; size_t count; int peer; } p2p;
    };
} event2;
typedef struct {
    uint8_t type;
    void *parent;
    int rank;
    union {
        struct {
            const char *name; uint64_t hash, seq; const char *func; const void *send; void *recv; size_t count; int root;
            const char *datatype; uint8_t channels, warps; const char *algo, *proto;
        } coll;
        struct { const char *name; uint64_t hash; const char *func; void *buff; const char *datatype; size_t count; int peer; } p2p;
    };
} event3;

_Static_assert(sizeof(event) == 136 && sizeof(event1) == 120 && sizeof(event2) == 128 && sizeof(event3) == 120, "sizes");
_Static_assert(sizeof(profiler) == 48 && sizeof(old_profiler) == 48, "sizes");

static const char *plugin_path, *nccl_path;
static int version, rank, size;
static uint64_t adapter;
static profiler *P;
static void *library, *context;
static int mask;
static const uint64_t HASH = 0x1234567890abcdef;

static void fail(const char *what) {
    fprintf(stderr, "driver: %s: %s\n", what, dlerror());
    exit(2);
}

static void check(int code) {
    if (code != 0) { fprintf(stderr, "driver: the plugin returned %d\n", code); exit(3); }
}

static void pause_us(long us) {
    struct timespec time = {0, us * 1000};
    nanosleep(&time, NULL);
}

static void open_plugin(void) {
    library = dlopen(plugin_path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail("dlopen");
    if (nccl_path) {
        void *nccl = dlopen(nccl_path, RTLD_NOW | RTLD_LOCAL);
        if (!nccl) fail("dlopen NCCL");
        struct link_map *map;
        dlinfo(nccl, RTLD_DI_LINKMAP, &map);
        profiler *(*get)(void *) = (profiler * (*)(void *))(map->l_addr + adapter);
        P = get(library);
    } else {
        P = dlsym(library, "ncclProfiler_v7");
    }
    if (!P) fail("no profiler");
    mask = 0;
    check(P->init(&context, HASH, &mask, "data parallel", 1, size, rank, NULL));
}

// As NCCL does: start only what the mask asks for, and those above it in the hierarchy.
static void *start(uint64_t type, void *parent, event *e) {
    void *handle = NULL;
    e->type = type;
    e->parent = parent;
    e->rank = rank;
    check(P->start(context, &handle, e));
    return handle;
}

static void stop(void *handle) {
    if (handle) check(P->stop(handle));
}

static void state(void *handle, int number, uint64_t value) {
    if (handle) check(P->state(handle, number, &value));
}

static void *group_handle, *call_handle;

static void begin_group(bool captured) {
    event e = {.group_api = {captured, 1}};
    group_handle = start(GROUP_API, NULL, &e);
}

static void call(const char *func, size_t count, const char *type, int root, bool captured) {
    event e = {.coll_api = {func, count, type, root, (void *)0x5000, captured, 0}};
    call_handle = start(COLL_API, group_handle, &e);
    pause_us(20);
    stop(call_handle);
}

static void launch(void) {
    event e = {.launch = {(void *)0x5000}};
    void *handle = start(LAUNCH, group_handle, &e);
    pause_us(20);
    stop(handle);
}

// The group of a plan, which is all that connects events before version 5.
static void *plan(void) {
    event e = {0};
    return start(GROUP, NULL, &e);
}

static void *collective(const char *func, size_t count, const char *type, int root, uint64_t seq, void *parent, void *group) {
    event e = {.coll = {seq, func, (void *)0x100, (void *)0x200, count, root, type, 8, 16, "RING", "SIMPLE", group, NULL, false, 77}};
    return start(COLL, parent, &e);
}

static void proxy_operation(void *task, pid_t pid, int peer, int is_send) {
    event e = {.proxy_op = {pid, 3, peer, 2, 131072, is_send}};
    void *operation = start(PROXY_OP, task, &e);
    state(operation, 19, 0);
    for (int step = 0; step < 2; step++) {
        event s = {.proxy_step = {step}};
        void *handle = start(PROXY_STEP, operation, &s);
        if (is_send) { state(handle, 8, 0); state(handle, 20, 0); state(handle, 9, 65536); }
        else { state(handle, 10, 0); state(handle, 11, 65536); state(handle, 12, 65536); }
        struct { uint8_t type; struct { int device; uint64_t request; int opcode, pair; size_t length; } qp; } data = {1, {2, 99, 4, 321, 65536}};
        event n = {.net = {1 << 16 | 1, &data}};
        stop(start(NET, handle, &n));
        stop(handle);
    }
    stop(operation);
}

static void kernel(void *task, int channel, uint64_t from, uint64_t to) {
    event e = {.kernel_ch = {channel, from}};
    void *handle = start(KERNEL_CH, task, &e);
    event p = {.phase = {channel, 1, "compute", from + 10}};
    void *phase = start(PHASE, handle, &p);
    state(phase, 31, to - 10);
    stop(phase);
    state(handle, 22, to);
    stop(handle);
}

// One collective as a training step makes it.
static void *one(const char *func, size_t count, const char *type, int root, uint64_t seq) {
    begin_group(false);
    call(func, count, type, root, false);
    launch();
    void *group = plan();
    void *task = collective(func, count, type, root, seq, call_handle, group);
    if (mask & PROXY_OP) proxy_operation(task, getpid(), 1 - rank, 1);
    stop(task);
    stop(group);
    stop(group_handle);
    return task;
}

// The channels of a kernel that takes 300 µs, by a device's clock that counts from elsewhere.
static uint64_t device_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return 7000000000000000ull + time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void device(void *task) {
    if (!(mask & KERNEL_CH)) return;
    void *handles[2];
    for (int channel = 0; channel < 2; channel++) {
        event e = {.kernel_ch = {channel, device_ns()}};
        handles[channel] = start(KERNEL_CH, task, &e);
    }
    pause_us(300);
    for (int channel = 0; channel < 2; channel++) {
        state(handles[channel], 22, device_ns());
        stop(handles[channel]);
    }
}

static void job(void) {
    for (uint64_t round = 0; round < 5; round++) {
        pause_us(1000 * (rank + 1));
        device(one("AllReduce", 1 << 20, "ncclFloat32", 0, round));
        device(one("AllGather", 1000, "ncclBfloat16", 0, round));
        device(one("ReduceScatter", 1000, "ncclInt8", 0, round));
        device(one("Broadcast", 64, "ncclFloat8e4m3", 1, round));
        // A send and a receive in one group of the user's.
        begin_group(false);
        void *calls[2], *tasks[2];
        for (int i = 0; i < 2; i++) {
            event e = {.p2p_api = {i ? "Recv" : "Send", 512, "ncclInt64", (void *)0x5000, false, 0}};
            calls[i] = start(P2P_API, group_handle, &e);
            stop(calls[i]);
        }
        launch();
        void *group = plan();
        for (int i = 0; i < 2; i++) {
            event e = {.p2p = {i ? "Recv" : "Send", (void *)0x300, "ncclInt64", 512, 1 - rank, 4, group, 0}};
            tasks[i] = start(P2P, calls[i], &e);
        }
        for (int i = 0; i < 2; i++) stop(tasks[i]);
        stop(group);
        stop(group_handle);
    }
}

static void *from_graph(void *handle) {
    for (int replay = 0; replay < 3; replay++) stop(collective("AllReduce", 4096, "ncclFloat16", 0, 7, handle, NULL));
    return NULL;
}

static void late(void) {
    void *task = one("AllReduce", 2048, "ncclFloat32", 0, 0);
    // The proxy and the device tell of a collective after it was handed over, from another thread in NCCL.
    proxy_operation(task, getpid(), 1, 0);
    kernel(task, 5, 1000000, 2000000);
    // PXN: another process's collective, its pointers and its context.
    void *own = context;
    context = (void *)0x7fff12345678;
    proxy_operation((void *)0x7ffe87654321, 1, 3, 1);
    context = own;
    // A handle that happens to look like one of ours, of another process.
    proxy_operation((void *)((uint64_t)task ^ (uint64_t)1 << 50), 1, 2, 1);
    // NCCL stops a call again where its mask was changed between.
    check(P->stop(call_handle));
    check(P->stop(call_handle));
    // Nonsense does no harm.
    check(P->stop(NULL));
    check(P->stop((void *)0x1234));
    check(P->state((void *)0x1234, 22, NULL));
    check(P->state(task, 99, NULL));
    event odd = {0};
    void *handle = (void *)1;
    odd.type = 3;
    check(P->start(context, &handle, &odd));
    if (handle) exit(4);
    odd.type = (uint64_t)1 << 40;
    check(P->start(context, &handle, &odd));
    if (handle) exit(4);
    // A captured graph: the call once, its collective at each launch, from a thread of CUDA.
    begin_group(true);
    call("AllReduce", 4096, "ncclFloat16", 0, true);
    launch();
    stop(group_handle);
    pthread_t thread;
    pthread_create(&thread, NULL, from_graph, call_handle);
    pthread_join(thread, NULL);
    // Copy engines.
    begin_group(false);
    call("AllGather", 4096, "ncclFloat16", 0, false);
    event ce = {.ce_coll = {3, "AllGather", (void *)1, (void *)2, 4096, 0, "ncclFloat16", "MC", true, 2, 5, 9, (void *)0x6000, 0}};
    void *copies = start(CE_COLL, call_handle, &ce);
    stop(copies);
    stop(group_handle);
    check(P->finalize(context));
    // After the communicator's end.
    kernel(task, 6, 3000000, 4000000);
}

static void reopen(void) {
    for (uint64_t round = 0; round < 3; round++) {
        one("AllReduce", 100, "ncclFloat64", 0, round);
        check(P->finalize(context));
        if (dlclose(library)) fail("dlclose");
        // Where the code was unmapped, this is the end.
        if (round < 2) open_plugin();
    }
    void *again = dlopen(plugin_path, RTLD_NOW | RTLD_NOLOAD);
    if (!again) fail("the plugin is gone");
}

static void forked(void) {
    begin_group(false);
    event e = {.coll_api = {"AllReduce", 10, "ncclFloat32", 0, NULL, false, 0}};
    void *open = start(COLL_API, group_handle, &e);
    pid_t child = fork();
    if (child == 0) {
        // What the parent had open is not the child's.
        stop(open);
        stop(group_handle);
        check(P->init(&context, HASH + 1, &mask, "of the child", 1, size, rank, NULL));
        one("AllReduce", 20, "ncclFloat32", 0, 0);
        exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    if (status) exit(5);
    stop(open);
    stop(group_handle);
    one("AllReduce", 30, "ncclFloat32", 0, 1);
}

// Versions 1 to 3 directly: the communicator's name and hash come with each event.
static void old(void) {
    char symbol[32];
    snprintf(symbol, sizeof symbol, "ncclProfiler_v%d", version);
    library = dlopen(plugin_path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail("dlopen");
    old_profiler *O = dlsym(library, symbol);
    if (!O) fail("no profiler");
    check(O->init(&context, &mask));
    if (mask != 7) exit(6);
    for (uint64_t round = 0; round < 2; round++) {
        void *coll = NULL, *p2p = NULL;
        if (version == 1) {
            event1 e = {COLL, NULL, rank, .coll = {"old group", HASH, round, 4, (void *)1, (void *)2, 4096, 0, 7, 0, 0, 8, 16, 1, 2, 0, 0}};
            check(O->start(context, &coll, &e));
            event1 p = {P2P, NULL, rank, .p2p = {"old group", HASH, 6, (void *)1, 7, 99, 1 - rank}};
            check(O->start(context, &p2p, &p));
        } else if (version == 2) {
            event2 e = {COLL, NULL, rank, .coll = {"old group", HASH, round, "AllReduce", (void *)1, (void *)2, 4096, 0, "ncclFloat32", 0, 8, 16, "RING", "SIMPLE"}};
            check(O->start(context, &coll, &e));
            event2 p = {P2P, NULL, rank, .p2p = {"old group", HASH, "Send", (void *)1, "ncclFloat32", 99, 1 - rank}};
            check(O->start(context, &p2p, &p));
        } else {
            event3 e = {COLL, NULL, rank, .coll = {"old group", HASH, round, "AllReduce", (void *)1, (void *)2, 4096, 0, "ncclFloat32", 8, 16, "RING", "SIMPLE"}};
            check(O->start(context, &coll, &e));
            event3 p = {P2P, NULL, rank, .p2p = {"old group", HASH, "Send", (void *)1, "ncclFloat32", 99, 1 - rank}};
            check(O->start(context, &p2p, &p));
        }
        check(O->stop(p2p));
        check(O->stop(coll));
    }
    check(O->finalize(context));
}

int main(int count, char **words) {
    if (count < 6) return 2;
    plugin_path = words[1];
    version = atoi(words[2]);
    rank = atoi(words[3]);
    size = atoi(words[4]);
    const char *scenario = words[5];
    if (count > 7) {
        nccl_path = words[6];
        adapter = strtoull(words[7], NULL, 16);
    }
    if (!strcmp(scenario, "old")) { old(); return 0; }
    open_plugin();
    if (!strcmp(scenario, "job")) { job(); check(P->finalize(context)); }
    else if (!strcmp(scenario, "late")) late();
    else if (!strcmp(scenario, "reopen")) reopen();
    else if (!strcmp(scenario, "fork")) { forked(); check(P->finalize(context)); }
    else return 2;
    printf("mask %x\n", mask);
    return 0;
}
