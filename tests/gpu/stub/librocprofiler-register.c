/* STUB of librocprofiler-register: see rocm.h. As the real one it looks for a tool among the images that are loaded for all
 * and in ROCP_TOOL_LIBRARIES, loads rocprofiler-sdk where there is one, and ends the process where it cannot. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int rocprofiler_register_library_api_table(const char *name, const void *import, uint32_t version, void **tables,
                                           uint64_t count, uint64_t *id) {
    (void)import;
    const char *tools = getenv("ROCP_TOOL_LIBRARIES");
    if (id) *id = 1;
    if (!dlsym(RTLD_DEFAULT, "rocprofiler_configure") && !(tools && *tools)) return 1;
    Dl_info info;
    char path[4096];
    dladdr((void *)rocprofiler_register_library_api_table, &info);
    snprintf(path, sizeof path, "%s", info.dli_fname);
    char *slash = strrchr(path, '/');
    snprintf(slash ? slash + 1 : path, 64, "librocprofiler-sdk.so.1");
    void *sdk = dlopen(path, RTLD_GLOBAL | RTLD_LAZY);
    if (!sdk) sdk = dlopen("librocprofiler-sdk.so.1", RTLD_GLOBAL | RTLD_LAZY);
    int (*set)(const char *, uint64_t, uint64_t, void **, uint64_t) = NULL;
    if (sdk) set = (int (*)(const char *, uint64_t, uint64_t, void **, uint64_t))dlsym(sdk, "rocprofiler_set_api_table");
    if (!set) {
        fprintf(stderr, "stub: rocprofiler_set_api_table not found\n");
        abort();
    }
    return set(name, version, 0, tables, count);
}
