// A library with a copy of NVTX of its own.
#include <nvtx3/nvToolsExt.h>

__attribute__((visibility("default"))) int second_push(void) { return nvtxRangePushA("second copy"); }
__attribute__((visibility("default"))) int second_pop(void) { return nvtxRangePop(); }
