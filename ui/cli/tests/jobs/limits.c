/* A job for the limits of `gapless record`: what it does is its first argument. It finds the recorder's library as a
   plugin would, through the environment, and does the same without it. Built with `cc -pthread -ldl`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void nothing(const char *name) { (void)name; }
static void no_pop(void) {}
static void (*push)(const char *) = nothing;
static void (*pop)(void) = no_pop;

static void find_library(void) {
    int is_recorded = getenv("GAPLESS_RINGS") != NULL || getenv("GAPLESS_RECORDING") != NULL;
    const char *path = is_recorded ? getenv("GAPLESS_INJECT") : NULL;
    void *library = path ? dlopen(path, RTLD_NOW) : NULL;
    if (library == NULL) return;
    push = (void (*)(const char *))dlsym(library, "gapless_push");
    pop = (void (*)(void))dlsym(library, "gapless_pop");
}

static pthread_barrier_t barrier;

static void *one_range(void *wait) {
    push("in a thread");
    if (wait != NULL) pthread_barrier_wait(&barrier);
    pop();
    return NULL;
}

static void start(pthread_t *thread, void *wait) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    int error = pthread_create(thread, &attributes, one_range, wait);
    if (error != 0) {
        fprintf(stderr, "pthread_create: %s\n", strerror(error));
        exit(3);
    }
    pthread_attr_destroy(&attributes);
}

static int threads_in_turn(int count) {
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        start(&thread, NULL);
        pthread_join(thread, NULL);
    }
    printf("%d threads\n", count);
    return 0;
}

static int threads_at_once(int count) {
    pthread_t *threads = calloc(count, sizeof *threads);
    pthread_barrier_init(&barrier, NULL, count);
    for (int i = 0; i < count; i++) start(&threads[i], &barrier);
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
    free(threads);
    printf("%d threads\n", count);
    return 0;
}

/* Both sides end the ranges that were open when they parted, and record one of their own. */
static int forks(int count) {
    push("outer");
    push("inner");
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            push("in the child");
            pop();
            pop();
            pop();
            _exit(40 + i);
        }
        int status = 0;
        if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 40 + i) return 3;
    }
    pop();
    pop();
    printf("%d children\n", count);
    return 0;
}

/* Whoever daemonises closes all that it may have inherited. What it opens then must get the same numbers as alone. */
static int closes_all(int ranges) {
    push("before");
    pop();
    int out = dup(1);
    int kept = dup2(out, 200);
    for (int fd = 0; fd < 200; fd++) close(fd);
    push("after");
    pop();
    for (int i = 0; i < ranges; i++) {
        /* More than the first ring holds: the library has to go on without the descriptors that it had. */
        push("many");
        pop();
    }
    int first = open("/dev/null", O_RDONLY), second = open("/dev/null", O_RDONLY), third = open("/dev/null", O_RDONLY);
    dprintf(kept, "descriptors %d %d %d\n", first, second, third);
    return 0;
}

static int clears_environment(void) {
    push("dressed");
    pop();
    clearenv();
    push("bare");
    pop();
    pthread_t thread;
    start(&thread, NULL);
    pthread_join(thread, NULL);
    /* The child finds no variables; it is a child of a recorded process all the same, for it came by fork. */
    pid_t child = fork();
    if (child == 0) {
        push("in the child");
        pop();
        execl("/bin/sh", "sh", "-c", "echo \"rings ${GAPLESS_RINGS:-none}\"", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

static int crashes(void) {
    push("outer");
    push("the last one");
    volatile int *nowhere = NULL;
    *nowhere = 1;
    return 0;
}

/* Ranges from now until somebody ends it, or `count` of them; a line after each thousand. */
static int loops(long count) {
    for (long i = 0; i < count; i++) {
        push("a range");
        pop();
        if (i % 1000 == 999) {
            printf("%ld\n", i + 1);
            fflush(stdout);
            usleep(1000);
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    long count = argc > 2 ? atol(argv[2]) : 0;
    find_library();
    int code = 64;
    if (strcmp(what, "threads-in-turn") == 0) code = threads_in_turn((int)count);
    if (strcmp(what, "threads-at-once") == 0) code = threads_at_once((int)count);
    if (strcmp(what, "forks") == 0) code = forks((int)count);
    if (strcmp(what, "closes-all") == 0) code = closes_all((int)count);
    if (strcmp(what, "clears-environment") == 0) code = clears_environment();
    if (strcmp(what, "crashes") == 0) code = crashes();
    if (strcmp(what, "loops") == 0) code = loops(count);
    return code;
}
