// Two copies of NVTX in one process, the image closed by whoever opened it, and a fork in the middle of ranges.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <nvtx3/nvToolsExt.h>
#include <nvtx3/nvToolsExtPayload.h>
#include <stdio.h>
#include <stdlib.h>
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
int second_push(void);
int second_pop(void);
#else
static int second_push(void) { return 0; }
static int second_pop(void) { return 0; }
#endif

int main(int count, char** arguments) {
    CHECK(count == 2);
    nvtxRangePushA("first copy");
    second_push();
    second_pop();

    // As NVTX opens it; every reference is given back, the image must stay.
    for (int i = 0; i < 3; i++) {
        void* image = dlopen(arguments[1], RTLD_LAZY);
        CHECK(image != NULL);
        dlclose(image);
        dlclose(image);
    }

    nvtxDomainHandle_t domain = nvtxDomainCreateA("domain");
    nvtxDomainNameCategoryA(domain, 1, "kind");
    nvtxEventAttributes_t attributes = {0};
    attributes.version = NVTX_VERSION;
    attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    attributes.category = 1;
    attributes.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    attributes.message.registered = nvtxDomainRegisterStringA(domain, "registered");
    nvtxDomainRangePushEx(domain, &attributes);
    nvtxMarkA("after the image was closed");

    const nvtxPayloadSchemaEntry_t entry = {0, NVTX_PAYLOAD_ENTRY_TYPE_INT32, "number"};
    nvtxPayloadSchemaAttr_t schema = {0};
    schema.fieldMask = NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_TYPE | NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_ENTRIES |
                       NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_NUM_ENTRIES | NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_SCHEMA_ID;
    schema.type = NVTX_PAYLOAD_SCHEMA_TYPE_STATIC;
    schema.entries = &entry;
    schema.numEntries = 1;
    schema.schemaId = NVTX_PAYLOAD_SCHEMA_ID_STATIC_START + 84;
    nvtxPayloadSchemaRegister(domain, &schema);

    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        // Its own strings come in another order than the parent's.
        nvtxMarkA("first of the child");
        int32_t number = 5;
        nvtxPayloadData_t data = {schema.schemaId, sizeof(number), &number};
        attributes.payloadType = NVTX_PAYLOAD_TYPE_EXT;
        attributes.reserved0 = 1;
        attributes.payload.ullValue = NVTX_POINTER_AS_PAYLOAD_ULLVALUE(&data);
        nvtxDomainRangePushEx(domain, &attributes);
        nvtxDomainRangePop(domain);
        // Ends of ranges that the parent began.
        nvtxDomainRangePop(domain);
        nvtxRangePop();
        nvtxRangePushA("first copy");
        nvtxRangePop();
        exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    nvtxDomainRangePop(domain);
    nvtxRangePop();
    return 0;
}
