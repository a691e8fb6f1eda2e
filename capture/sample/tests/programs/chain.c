/* A known hot function at the end of a known chain of calls. Arguments: seconds of processor time, threads. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static volatile unsigned long sink;

static double cpu_seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

__attribute__((noinline)) void hot_function(void) {
    for (int i = 0; i < 2000000; i++) sink = sink * 31 + i;
}

__attribute__((noinline)) void middle_function(void) {
    hot_function();
    sink++;
}

__attribute__((noinline)) void outer_function(double seconds) {
    double end = cpu_seconds(CLOCK_THREAD_CPUTIME_ID) + seconds;
    while (cpu_seconds(CLOCK_THREAD_CPUTIME_ID) < end) middle_function();
    sink++;
}

static void *thread_main(void *seconds) {
    outer_function(*(double *)seconds);
    return NULL;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    int threads = argc > 2 ? atoi(argv[2]) : 0;
    pthread_t ids[64];
    for (int i = 0; i < threads && i < 64; i++) pthread_create(&ids[i], NULL, thread_main, &seconds);
    outer_function(seconds);
    for (int i = 0; i < threads && i < 64; i++) pthread_join(ids[i], NULL);
    printf("%f\n", cpu_seconds(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
