// A stand-in for libgapless_inject.so in the tests of the Python hook: it writes each call of the C interface, and each
// ITT task that PyTorch reports, as one line "PID TID FUNCTION ARGUMENTS" to $STAND_IN_LOG.PID. Without that variable
// it does nothing but be called, which is what the measurements of the hook's own cost need.
//
// While the file $STAND_IN_PAUSED exists, gapless_active() says that nothing is recorded.

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void line(const char *format, ...) {
    const char *log = getenv("STAND_IN_LOG");
    if (!log) return;
    char path[4096], text[4096];
    snprintf(path, sizeof path, "%s.%d", log, (int)getpid());
    int at = snprintf(text, sizeof text, "%d %d ", (int)getpid(), (int)syscall(SYS_gettid));
    va_list arguments;
    va_start(arguments, format);
    at += vsnprintf(text + at, sizeof text - at - 1, format, arguments);
    va_end(arguments);
    if (at > (int)sizeof text - 2) at = sizeof text - 2;
    text[at++] = '\n';
    // One write to a file opened for appending: lines of several threads do not mix.
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) return;
    ssize_t written = write(file, text, at);
    (void)written;
    close(file);
}

int gapless_version(void) {
    const char *version = getenv("STAND_IN_VERSION");
    return version ? atoi(version) : 1;
}
void gapless_python(void) { line("python"); }
int gapless_active(void) {
    const char *paused = getenv("STAND_IN_PAUSED");
    return !(paused && access(paused, F_OK) == 0);
}
void gapless_push(const char *name) { line("push %s", name); }
void gapless_pop(void) { line("pop"); }
void gapless_push_kind(const char *name, int kind) { line("push_kind %d %s", kind, name); }
void gapless_mark(const char *name) { line("mark %s", name); }
void gapless_counter(const char *name, double value) { line("counter %s %g", name, value); }
void gapless_thread_name(const char *name) { line("thread_name %s", name); }
void gapless_step(long long step) { line("step %lld", step); }
void gapless_collective(const char *json) { line("collective %s", json); }
void gapless_info(const char *key, const char *value) { line("info %s = %s", key, value); }

// The ITT collector: the structures of ittnotify_config.h, version 3, as far as they are used.
typedef struct { const char *name; void **function; void *init, *null; int group; } api_info;
typedef struct {
    unsigned char magic[8];
    unsigned long major, minor, build;
    long initialized, mutex_initialized, atomic_counter;
    pthread_mutex_t mutex;
    void *library, *error_handler;
    const char **dll_path;
    api_info *functions;
} itt_global;
typedef struct itt_domain { int flags; const char *name; void *wide; int extra; void *extra2; struct itt_domain *next; } itt_domain;
typedef struct itt_string { const char *text; void *wide; int extra; void *extra2; struct itt_string *next; } itt_string;
typedef struct { unsigned long long a, b, c; } itt_id;

static itt_domain *domain_create(const char *name) {
    itt_domain *domain = calloc(1, sizeof *domain);
    domain->flags = 1;
    domain->name = strdup(name);
    return domain;
}
static itt_string *string_handle_create(const char *text) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static itt_string *all;
    pthread_mutex_lock(&lock);
    itt_string *one = all;
    while (one && strcmp(one->text, text)) one = one->next;
    if (!one) {
        one = calloc(1, sizeof *one);
        one->text = strdup(text);
        one->next = all;
        all = one;
    }
    pthread_mutex_unlock(&lock);
    return one;
}
static void task_begin(const itt_domain *domain, itt_id id, itt_id parent, itt_string *name) {
    (void)domain, (void)id, (void)parent;
    line("itt %s", name ? name->text : "");
}
static void task_end(const itt_domain *domain) {
    (void)domain;
    line("itt_end");
}

void __itt_api_init(itt_global *global, int group) {
    (void)group;
    for (api_info *one = global->functions; one->name; one++) {
        void *function = one->null;
        if (!strcmp(one->name, "__itt_domain_create") || !strcmp(one->name, "__itt_domain_createA")) function = domain_create;
        if (!strcmp(one->name, "__itt_string_handle_create") || !strcmp(one->name, "__itt_string_handle_createA")) function = string_handle_create;
        if (!strcmp(one->name, "__itt_task_begin")) function = task_begin;
        if (!strcmp(one->name, "__itt_task_end")) function = task_end;
        *one->function = function;
    }
}
