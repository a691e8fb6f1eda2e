// Every call of ITT that the image records, with ITT's own sources, in an order that the test knows.
#define INTEL_ITTNOTIFY_API_PRIVATE
#include <ittnotify.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #condition);                                    \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

#ifdef SECOND
void second_copy(void);
#else
static void second_copy(void) {}
#endif

// ITT's macros are bare conditional expressions, which nothing must stand beside.
static __itt_string_handle* handle(const char* name) { return __itt_string_handle_create(name); }
static __itt_domain* domain(const char* name) { return __itt_domain_create(name); }
static __itt_event event_of(const char* name, int length) { return __itt_event_create(name, length); }

static __itt_domain* torch;

static void* other_thread(void* unused) {
    (void)unused;
    __itt_thread_set_name("a worker");
    __itt_task_begin(torch, __itt_null, __itt_null, handle("gloo:all_reduce"));
    __itt_task_end(torch);
    return NULL;
}

static void tasks(void) {
    // Made before ITT is initialised, as PyTorch's domain is: the collector knows nothing of these two yet.
    torch = domain("PyTorch");
    __itt_string_handle* early = handle("aten::mm");
    CHECK(torch != NULL && early != NULL);
    __itt_task_begin(torch, __itt_null, __itt_null, early);
    __itt_task_end(torch);

    __itt_string_handle* add = handle("aten::add");
    CHECK(add != NULL && add == handle("aten::add"));
    CHECK(add != handle("aten::mul"));
    CHECK(strcmp(add->strA, "aten::add") == 0);
    __itt_task_begin(torch, __itt_null, __itt_null, add);
    __itt_task_begin(torch, __itt_null, __itt_null, handle("AddBackward0"));
    __itt_task_end(torch);
    __itt_task_end(torch);
    const char* names[] = {"Optimizer.step#AdamW.step", "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__",
                           "c10d::allreduce_", "my own range"};
    for (int i = 0; i < 4; i++) {
        __itt_task_begin(torch, __itt_null, __itt_null, handle(names[i]));
        __itt_task_end(torch);
    }
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);

    // The same name in the domain of somebody else says nothing of PyTorch.
    __itt_domain* mine = domain("mine");
    CHECK(mine != NULL && mine == domain("mine"));
    __itt_task_begin(mine, __itt_null, __itt_null, add);
    __itt_task_end(mine);
    __itt_domain* dnnl = domain("dnnl::primitive::execute");
    __itt_task_begin(dnnl, __itt_null, __itt_null, handle("convolution"));
    __itt_task_end(dnnl);
    __itt_task_begin_ex(mine, NULL, 0, __itt_null, __itt_null, add);
    __itt_task_end_ex(mine, NULL, 0);

    // A domain that is turned off sends nothing.
    mine->flags = 0;
    __itt_task_begin(mine, __itt_null, __itt_null, add);
    __itt_task_end(mine);
    mine->flags = 1;

    // By id, overlapping, ended on another place.
    __itt_id one = __itt_id_make(mine, 1), two = __itt_id_make(mine, 2);
    __itt_task_begin_overlapped(mine, one, __itt_null, handle("first"));
    __itt_task_begin_overlapped(mine, two, one, handle("second"));
    __itt_task_end_overlapped(mine, one);
    __itt_task_end_overlapped(mine, two);
    __itt_region_begin(mine, one, __itt_null, handle("region"));
    __itt_region_end(mine, one);

    __itt_frame_begin_v3(mine, NULL);
    __itt_frame_end_v3(mine, NULL);
    __itt_frame_begin_v3(mine, &two);
    __itt_frame_end_v3(mine, &two);
    __itt_timestamp begin = __itt_get_timestamp(), end = __itt_get_timestamp();
    CHECK(begin != 0 && end >= begin);
    __itt_frame_submit_v3(mine, NULL, 100, 200);

    __itt_marker(mine, __itt_null, handle("a marker"), __itt_scope_task);
    __itt_mark_type mark = __itt_mark_create("old mark");
    __itt_mark(mark, NULL);
    __itt_mark(mark, "with a parameter");
    __itt_mark_global(mark, NULL);
    __itt_event event = event_of("an event", 8), cut = event_of("cut here", 3);
    CHECK(event != 0 && event == event_of("an event", 8) && cut != event);
    __itt_event_start(event);
    __itt_event_start(cut);
    __itt_event_end(event);
    __itt_event_end(cut);
}

static void metadata(void) {
    __itt_domain* mine = domain("mine");
    __itt_string_handle* key = handle("key");
    __itt_task_begin(mine, __itt_null, __itt_null, handle("with facts"));
    uint64_t u64 = 18446744073709551615ull;
    int64_t s64[3] = {-1, 2, 3};
    uint32_t u32 = 7;
    int32_t s32 = -7;
    uint16_t u16 = 9;
    int16_t s16 = -9;
    float single = 0.5f;
    double both[2] = {1.5, -2};
    __itt_metadata_add(mine, __itt_null, key, __itt_metadata_u64, 1, &u64);
    __itt_metadata_add(mine, __itt_null, key, __itt_metadata_s64, 1, s64);
    __itt_metadata_add(mine, __itt_null, key, __itt_metadata_s64, 3, s64);
    __itt_metadata_add(mine, __itt_null, key, __itt_metadata_u32, 1, &u32);
    __itt_metadata_add(mine, __itt_null, key, __itt_metadata_s32, 1, &s32);
    __itt_metadata_add(mine, __itt_null, key, __itt_metadata_u16, 1, &u16);
    __itt_metadata_add(mine, __itt_null, key, __itt_metadata_s16, 1, &s16);
    __itt_metadata_add(mine, __itt_null, key, __itt_metadata_float, 1, &single);
    __itt_metadata_add(mine, __itt_null, key, __itt_metadata_double, 1, both);
    __itt_metadata_add(mine, __itt_null, key, __itt_metadata_double, 2, both);
    __itt_metadata_str_add(mine, __itt_null, key, "text", 0);
    __itt_metadata_str_add(mine, __itt_null, key, "text cut", 4);
    __itt_metadata_add_with_scope(mine, __itt_scope_task, key, __itt_metadata_u32, 1, &u32);
    __itt_metadata_str_add_with_scope(mine, __itt_scope_task, key, "scoped", 0);
    __itt_task_end(mine);
    __itt_id one = __itt_id_make(mine, 11);
    __itt_task_begin(mine, one, __itt_null, handle("with an id"));
    __itt_metadata_add(mine, one, key, __itt_metadata_s32, 1, &s32);
    __itt_task_end(mine);
}

static void counters(void) {
    __itt_counter plain = __itt_counter_create("plain", "counters");
    CHECK(plain != NULL);
    __itt_counter_inc(plain);
    __itt_counter_inc_delta(plain, 4);
    __itt_counter_dec(plain);
    __itt_counter_dec_delta(plain, 2);
    uint64_t u64 = 10;
    __itt_counter_set_value(plain, &u64);
    __itt_counter_inc(plain);
    const struct {
        const char* name;
        __itt_metadata_type type;
    } typed[] = {{"s64", __itt_metadata_s64}, {"u32", __itt_metadata_u32},     {"s32", __itt_metadata_s32},
                 {"u16", __itt_metadata_u16}, {"s16", __itt_metadata_s16},     {"float", __itt_metadata_float},
                 {"double", __itt_metadata_double}};
    int64_t s64 = -1;
    uint32_t u32 = 2;
    int32_t s32 = -3;
    uint16_t u16 = 4;
    int16_t s16 = -5;
    float single = 6.5f;
    double real = -7.25;
    void* values[] = {&s64, &u32, &s32, &u16, &s16, &single, &real};
    for (int i = 0; i < 7; i++) {
        __itt_counter counter = __itt_counter_create_typed(typed[i].name, "counters", typed[i].type);
        CHECK(counter != NULL);
        __itt_counter_set_value(counter, values[i]);
    }
    __itt_domain* mine = domain("mine");
    __itt_counter third = __itt_counter_create_v3(mine, "third", __itt_metadata_double);
    __itt_counter_set_value_v3(third, &real);
    __itt_string_handle* name = handle("by name");
    __itt_counter_inc_v3(mine, name);
    __itt_counter_inc_delta_v3(mine, name, 3);
    __itt_counter_dec_v3(mine, name);
    __itt_counter_dec_delta_v3(mine, name, 5);
}

int main(void) {
    tasks();
    metadata();
    counters();
    __itt_thread_set_name("main again");
    __itt_pause();
    __itt_resume();
    second_copy();
    __itt_string_handle* name = handle("aten::mul");
    __itt_task_begin(torch, __itt_null, __itt_null, name);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        __itt_task_begin(torch, __itt_null, __itt_null, handle("only in the child"));
        __itt_task_begin(torch, __itt_null, __itt_null, name);
        __itt_task_end(torch);
        __itt_task_end(torch);
        exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    __itt_task_end(torch);
    return 0;
}
