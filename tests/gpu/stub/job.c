/* A job on the STUB of CUDA (see stub.h): ranges by NVTX's injection interface, operators by the C interface that the
 * Python hook uses, work on streams that are not there.
 *
 *     job train STEPS          steps with operators, copies, events, two streams, a graph, allocations
 *     job launches N           N launches, then a wait
 *     job graph N              one launch of N kernels
 *     job wrap                 correlation ids that wrap
 *     job kinds                one of everything
 *     job late HOW             leaves work running and ends: exit, _exit, kill, abort, thread
 *     job fork                 forks after CUDA was used; the child launches nothing and ends
 *     job forkfirst            forks before; parent and child both use CUDA
 *     job long MILLISECONDS    launches every millisecond
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int cuInit(unsigned);
void stub_context(void);
void stub_set_correlation(uint32_t);
uint32_t stub_launch(const char *, uint32_t, uint64_t);
uint32_t stub_graph(const char *, uint32_t, uint32_t, uint64_t);
void stub_copy(uint8_t, uint8_t, uint8_t, uint64_t, uint32_t, uint64_t);
void stub_copy_peer(uint64_t, uint32_t, uint64_t);
void stub_fill(uint64_t, uint32_t, uint64_t);
void stub_record_event(uint32_t, uint32_t);
void stub_event_synchronize(uint32_t);
void stub_stream_wait_event(uint32_t, uint32_t);
void stub_stream_synchronize(uint32_t);
void stub_device_synchronize(void);
void stub_memory(int, uint64_t, uint64_t);
void stub_noise(void);
void stub_launch_by_driver(const char *, uint32_t, uint64_t);
void stub_launch_without_times(const char *, uint32_t);
void stub_external(uint32_t, uint64_t);
void stub_overhead(uint32_t, uint64_t);

/* The program's side of NVTX, as far as it is needed. */
typedef int (*push_fn)(const char *);
typedef int (*pop_fn)(void);
static push_fn push_a;
static pop_fn pop;
static void **slots[17];
static void *functions[17];
static int table_of(int module, void ****table, unsigned *size) {
    if (module != 1) return 0;
    for (int i = 0; i < 17; i++) slots[i] = &functions[i];
    *table = slots;
    if (size) *size = 17;
    return 1;
}
static struct { size_t size; int (*get)(int, void ****, unsigned *); } callbacks = {sizeof callbacks, table_of};
static const void *export_table(uint32_t id) { return id == 1 ? (const void *)&callbacks : NULL; }
static void nvtx(void) {
    const char *path = getenv("NVTX_INJECTION64_PATH");
    void *tool = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    int (*initialize)(const void *(*)(uint32_t)) = NULL;
    if (tool) initialize = (int (*)(const void *(*)(uint32_t)))dlsym(tool, "InitializeInjectionNvtx2");
    if (!initialize || !initialize(export_table)) return;
    push_a = (push_fn)functions[9];
    pop = (pop_fn)functions[11];
}
static void (*push_kind)(const char *, int);
static void operators(void) {
    const char *path = getenv("GAPLESS_INJECT");
    void *image = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (image) push_kind = (void (*)(const char *, int))dlsym(image, "gapless_push_kind");
}
static void begin(const char *name) {
    if (push_kind && !strncmp(name, "aten::", 6)) push_kind(name, 1);
    else if (push_a) push_a(name);
}
static void end(void) { if (pop) pop(); }

#define GEMM "_ZN7cutlass6KernelI4gemmEEvPfi"
#define ADD "_ZN2at6native29vectorized_elementwise_kernelILi4EfEEviT0_"
#define NCCL "_Z34ncclDevKernel_AllReduce_Sum_f32_LLP24ncclDevKernelArgsStorage"

static void train(int steps) {
    char name[64];
    uint64_t memory = 0x7f0000000000ull;
    stub_memory(0, memory, 64 << 20);
    for (int step = 0; step < steps; step++) {
        snprintf(name, sizeof name, "ProfilerStep#%d", step);
        begin(name);
        begin("aten::to");
        stub_copy(1, 2, 3, 8 << 20, 7, 300000);
        end();
        stub_memory(0, memory + 4096 + (uint64_t)step, 1 << 20);
        begin("aten::linear");
        begin("aten::addmm");
        stub_launch(GEMM, 7, 400000);
        end();
        end();
        begin("aten::add");
        stub_launch(ADD, 7, 100000);
        end();
        stub_record_event(1, 7);
        stub_stream_wait_event(20, 1);
        begin("nccl:all_reduce");
        stub_launch(NCCL, 20, 500000);
        end();
        stub_record_event(2, 20);
        begin("graph");
        stub_graph(ADD, 7, 8, 20000);
        end();
        stub_fill(1 << 16, 7, 3000);
        stub_event_synchronize(2);
        stub_stream_synchronize(7);
        stub_memory(1, memory + 4096 + (uint64_t)step, 1 << 20);
        end();
    }
    stub_device_synchronize();
}
static void *launching(void *how) {
    for (int i = 0; i < 100; i++) stub_launch(GEMM, 7, 1000000);
    (void)how;
    exit(7);
}
static void late(const char *how) {
    for (int i = 0; i < 10; i++) stub_launch(ADD, 7, 1000);
    usleep(20000);
    stub_launch(GEMM, 7, 3600000000000ull);
    if (!strcmp(how, "_exit")) _exit(0);
    if (!strcmp(how, "kill")) { usleep(400000); kill(getpid(), SIGKILL); }
    if (!strcmp(how, "abort")) abort();
    if (!strcmp(how, "thread")) {
        pthread_t thread;
        pthread_create(&thread, NULL, launching, NULL);
        pthread_join(thread, NULL);
    }
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    const char *more = count > 2 ? words[2] : "";
    nvtx();
    operators();
    if (!strcmp(what, "forkfirst")) {
        pid_t child = fork();
        cuInit(0);
        stub_context();
        for (int i = 0; i < 5; i++) stub_launch(child ? GEMM : ADD, 7, 1000);
        stub_device_synchronize();
        int status = 0;
        if (child) waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 9;
    }
    cuInit(0);
    stub_context();
    if (!strcmp(what, "train")) train(atoi(more));
    if (!strcmp(what, "launches")) {
        for (int i = 0, n = atoi(more); i < n; i++) stub_launch(i % 2 ? GEMM : ADD, 7, 100);
        stub_device_synchronize();
    }
    if (!strcmp(what, "graph")) { stub_graph(ADD, 7, (uint32_t)atoi(more), 1000); stub_device_synchronize(); }
    if (!strcmp(what, "wrap")) {
        stub_set_correlation(0xfffffffcu);
        for (int i = 0; i < 8; i++) stub_launch(GEMM, 7, 1000);
        stub_record_event(3, 7);
        stub_event_synchronize(3);
    }
    if (!strcmp(what, "kinds")) {
        stub_launch(GEMM, 7, 1000);
        stub_launch_by_driver(ADD, 7, 1000);
        stub_launch_without_times(GEMM, 7);
        stub_copy(2, 3, 1, 4096, 7, 1000);
        stub_copy_peer(65536, 7, 1000);
        stub_fill(128, 7, 500);
        stub_external(3, 77);
        stub_launch(ADD, 8, 1000);
        stub_overhead(0x60000, 2000);
        stub_noise();
        stub_memory(0, 4096, 100);
        stub_record_event(4, 8);
        stub_stream_wait_event(7, 4);
        stub_stream_synchronize(8);
        stub_memory(1, 4096, 100);
        stub_device_synchronize();
    }
    if (!strcmp(what, "late")) late(more);
    if (!strcmp(what, "fork")) {
        for (int i = 0; i < 10; i++) stub_launch(GEMM, 7, 1000);
        pid_t child = fork();
        if (child == 0) exit(3);
        int status = 0;
        waitpid(child, &status, 0);
        stub_launch(GEMM, 7, 1000);
        stub_device_synchronize();
        return WIFEXITED(status) && WEXITSTATUS(status) == 3 ? 0 : 9;
    }
    if (!strcmp(what, "long")) {
        for (int i = 0, n = atoi(more); i < n; i++) { stub_launch(GEMM, 7, 200000); usleep(1000); }
        stub_device_synchronize();
    }
    return 0;
}
