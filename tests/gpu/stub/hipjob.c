/* A job on the STUB of ROCm (see rocm.h): ranges by NVTX's injection interface, operators by the C interface that the Python
 * hook uses, work on queues that are not there.
 *
 *     hipjob train STEPS          steps with operators, copies, kernels, a collective, allocations, noise
 *     hipjob launches N           N launches, then a wait
 *     hipjob kinds                one of everything
 *     hipjob late HOW             leaves work running and ends: exit, _exit, kill, abort, thread
 *     hipjob fork                 forks after HIP was used; the child launches nothing and ends
 *     hipjob forkfirst            forks before; parent and child both use HIP
 *     hipjob long MILLISECONDS    launches every millisecond
 *     hipjob nothing              does not use HIP
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

void stub_hip_launch(const char *, const char *, int, int, uint64_t);
void stub_hip_copy(int, int, uint64_t, int, uint64_t);
void stub_hip_memory(int, uint64_t, uint64_t);
void stub_hip_scratch(uint64_t);
void stub_hip_synchronize(int);
void stub_rccl_all_reduce(const char *, int, uint64_t);
int hipGetDevice(int *);
int hipGetLastError(void);

static void (*push_kind)(const char *, int);
static void (*pop)(void);
static void operators(void) {
    const char *path = getenv("GAPLESS_INJECT");
    void *image = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!image) return;
    push_kind = (void (*)(const char *, int))dlsym(image, "gapless_push_kind");
    pop = (void (*)(void))dlsym(image, "gapless_pop");
}
static void begin(const char *name) { if (push_kind) push_kind(name, !strncmp(name, "aten::", 6)); }
static void end(void) { if (pop) pop(); }

#define GEMM "_ZN7cutlass6KernelI4gemmEEvPfi.kd"
#define ADD "_ZN2at6native29vectorized_elementwise_kernelILi4EfEEviT0_.kd"
#define RCCL "_Z23ncclDevKernel_Generic_424ncclDevKernelArgsStorageILm4096EE.kd"

static void train(int steps) {
    char name[64];
    int device;
    uint64_t memory = 0x7e0000000000ull;
    for (int step = 0; step < steps; step++) {
        snprintf(name, sizeof name, "ProfilerStep#%d", step);
        begin(name);
        begin("aten::to");
        stub_hip_copy(-1, 0, 8 << 20, 1, 300000);
        end();
        stub_hip_memory(0, memory + (uint64_t)step * 65536, 1 << 20);
        begin("aten::linear");
        begin("aten::addmm");
        hipGetDevice(&device);
        stub_hip_launch("hipModuleLaunchKernel", GEMM, 0, 1, 400000);
        hipGetLastError();
        end();
        end();
        begin("aten::add");
        stub_hip_launch("hipLaunchKernel", ADD, 0, 1, 100000);
        end();
        begin("c10d::allreduce_");
        stub_rccl_all_reduce(RCCL, 2, 500000);
        end();
        stub_hip_synchronize(1);
        stub_hip_synchronize(2);
        stub_hip_memory(1, memory + (uint64_t)step * 65536, 0);
        end();
    }
}
static void *launching(void *unused) {
    (void)unused;
    for (int i = 0; i < 100; i++) stub_hip_launch("hipLaunchKernel", GEMM, 0, 1, 1000);
    exit(7);
}
int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "", *more = count > 2 ? words[2] : "";
    operators();
    if (!strcmp(what, "nothing")) return 0;
    if (!strcmp(what, "forkfirst")) {
        pid_t child = fork();
        for (int i = 0; i < 5; i++) stub_hip_launch("hipLaunchKernel", child ? GEMM : ADD, 0, 1, 1000);
        stub_hip_synchronize(1);
        int status = 0;
        if (child) waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 9;
    }
    if (!strcmp(what, "train")) train(atoi(more));
    if (!strcmp(what, "launches")) {
        for (int i = 0, n = atoi(more); i < n; i++) stub_hip_launch("hipLaunchKernel", i % 2 ? GEMM : ADD, 0, 1, 100);
        stub_hip_synchronize(1);
    }
    if (!strcmp(what, "kinds")) {
        int device;
        stub_hip_launch("hipLaunchKernel", GEMM, 1, 3, 1000);
        stub_hip_copy(-1, 0, 4096, 1, 1000);
        stub_hip_copy(1, -1, 8192, 1, 1000);
        stub_hip_copy(0, 0, 16384, 1, 1000);
        stub_hip_copy(0, 1, 32768, 1, 1000);
        stub_rccl_all_reduce(RCCL, 2, 1000);
        stub_hip_memory(0, 4096, 100);
        stub_hip_memory(1, 4096, 0);
        stub_hip_memory(1, 77, 0); /* not known */
        stub_hip_scratch(5000);
        hipGetDevice(&device);
        stub_hip_synchronize(1);
        stub_hip_synchronize(2);
    }
    if (!strcmp(what, "late")) {
        for (int i = 0; i < 10; i++) stub_hip_launch("hipLaunchKernel", ADD, 0, 1, 1000);
        usleep(20000);
        stub_hip_launch("hipLaunchKernel", GEMM, 0, 1, 100000000ull);     /* done while the process ends */
        stub_hip_launch("hipLaunchKernel", GEMM, 0, 2, 3600000000000ull); /* never done */
        if (!strcmp(more, "_exit")) _exit(0);
        if (!strcmp(more, "kill")) { usleep(400000); kill(getpid(), SIGKILL); }
        if (!strcmp(more, "abort")) abort();
        if (!strcmp(more, "thread")) {
            pthread_t thread;
            pthread_create(&thread, NULL, launching, NULL);
            pthread_join(thread, NULL);
        }
    }
    if (!strcmp(what, "fork")) {
        for (int i = 0; i < 10; i++) stub_hip_launch("hipLaunchKernel", GEMM, 0, 1, 1000);
        pid_t child = fork();
        if (child == 0) exit(3);
        int status = 0;
        waitpid(child, &status, 0);
        stub_hip_launch("hipLaunchKernel", GEMM, 0, 1, 1000);
        stub_hip_synchronize(1);
        return WIFEXITED(status) && WEXITSTATUS(status) == 3 ? 0 : 9;
    }
    if (!strcmp(what, "long")) {
        for (int i = 0, n = atoi(more); i < n; i++) { stub_hip_launch("hipLaunchKernel", GEMM, 0, 1, 200000); usleep(1000); }
        stub_hip_synchronize(1);
    }
    return 0;
}
