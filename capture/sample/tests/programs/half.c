/* Works for 20 ms of processor time, then sleeps for 20 ms, as often as the argument says. Prints its processor time. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 25;
    for (int i = 0; i < rounds; i++) {
        double end = cpu_seconds() + 0.020;
        while (cpu_seconds() < end) {
        }
        struct timespec pause = {0, 20 * 1000 * 1000};
        nanosleep(&pause, NULL);
    }
    printf("%f\n", cpu_seconds());
    return 0;
}
