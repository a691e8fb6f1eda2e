// What a range costs a C program, by kind; and a given rate of ranges over a given time.
//   annotations cost BURSTS    prints `kind nanoseconds` for each burst
//   annotations rate PER_SECOND SECONDS    prints how many ranges it made
#define _GNU_SOURCE
#define INTEL_ITTNOTIFY_API_PRIVATE
#include <ittnotify.h>
#include <nvtx3/nvToolsExt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAIRS 4000

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static nvtxDomainHandle_t domain;
static nvtxEventAttributes_t registered, full;
static __itt_domain* torch;
static __itt_string_handle* add;

static void pair_push_a(void) {
    nvtxRangePushA("forward pass");
    nvtxRangePop();
}
static void pair_registered(void) {
    nvtxDomainRangePushEx(domain, &registered);
    nvtxDomainRangePop(domain);
}
static void pair_full(void) {
    nvtxDomainRangePushEx(domain, &full);
    nvtxDomainRangePop(domain);
}
static void pair_start_end(void) { nvtxRangeEnd(nvtxRangeStartA("forward pass")); }
static void pair_emit_nvtx(void) {
    nvtxRangePushA("aten::addmm, seq = 123, op_id = 45678");
    nvtxRangePop();
}
static void pair_itt(void) {
    __itt_task_begin(torch, __itt_null, __itt_null, add);
    __itt_task_end(torch);
}
static void pair_itt_create(void) {
    __itt_string_handle* name = __itt_string_handle_create("aten::addmm");
    __itt_task_begin(torch, __itt_null, __itt_null, name);
    __itt_task_end(torch);
}

// The least that two times can cost: what a range is recorded with on the same machine.
static volatile unsigned long long ticks;
static void pair_counter(void) {
#if defined(__x86_64__)
    ticks = __builtin_ia32_rdtsc();
    ticks = __builtin_ia32_rdtsc();
#else
    ticks = (unsigned long long)now();
    ticks = (unsigned long long)now();
#endif
}

static const struct {
    const char* name;
    void (*pair)(void);
} kinds[] = {
    {"two readings of the counter", pair_counter},
    {"NVTX push/pop of a string", pair_push_a},
    {"NVTX push/pop of a registered string in a domain", pair_registered},
    {"NVTX push/pop with colour, category and payload", pair_full},
    {"NVTX start/end", pair_start_end},
    {"NVTX push/pop as emit_nvtx names it", pair_emit_nvtx},
    {"ITT task", pair_itt},
    {"ITT task with its string handle, as PyTorch", pair_itt_create},
};

static void cost(int bursts) {
    // Not inlined: what a call through a pointer costs is in both runs.
    for (int burst = -3; burst < bursts; burst++) {
        for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
            void (*volatile pair)(void) = kinds[kind].pair;
            double begin = now();
            for (int i = 0; i < PAIRS; i++) pair();
            double end = now();
            if (burst >= 0) printf("%s\t%.3f\n", kinds[kind].name, (end - begin) / PAIRS);
            // The reader must have seen it all before the next burst.
            usleep(4000);
        }
    }
}

static void rate(double per_second, double seconds) {
    double begin = now(), piece = 100e9 / per_second;
    long pieces = (long)(per_second * seconds / 100);
    for (long done = 0; done < pieces; done++) {
        while (now() < begin + done * piece) {
        }
        for (int i = 0; i < 100; i++) {
            nvtxRangePushA("range");
            nvtxRangePop();
        }
    }
    printf("%ld %.3f\n", pieces * 100, (now() - begin) / 1e9);
}

int main(int count, char** arguments) {
    domain = nvtxDomainCreateA("bench");
    nvtxDomainNameCategoryA(domain, 1, "kind");
    registered.version = NVTX_VERSION;
    registered.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    registered.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    registered.message.registered = nvtxDomainRegisterStringA(domain, "forward pass");
    full = registered;
    full.category = 1;
    full.colorType = NVTX_COLOR_ARGB;
    full.color = 0xff00ff00;
    full.payloadType = NVTX_PAYLOAD_TYPE_INT64;
    full.payload.llValue = 7;
    torch = __itt_domain_create("PyTorch");
    if (torch == NULL) {
        // Without a collector ITT gives none.
        static __itt_domain none;
        torch = &none;
    } else {
        __itt_task_begin(torch, __itt_null, __itt_null, __itt_string_handle_create("first"));
        __itt_task_end(torch);
    }
    add = __itt_string_handle_create("aten::addmm");
    if (count == 3 && strcmp(arguments[1], "cost") == 0) {
        cost(atoi(arguments[2]));
    } else if (count == 4 && strcmp(arguments[1], "rate") == 0) {
        rate(atof(arguments[2]), atof(arguments[3]));
    } else {
        return 2;
    }
    return 0;
}
