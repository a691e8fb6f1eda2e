// A library with a copy of ITT of its own.
#include <ittnotify.h>

__attribute__((visibility("default"))) void second_copy(void) {
    __itt_domain* torch = __itt_domain_create("PyTorch");
    __itt_task_begin(torch, __itt_null, __itt_null, __itt_string_handle_create("aten::add"));
    __itt_task_end(torch);
}
