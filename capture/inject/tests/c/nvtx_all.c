// Every call of NVTX's modules CORE and CORE2 and of its extensions that the image records, in an order that the test
// knows. What NVTX returns is checked here.
#define _GNU_SOURCE
#include <nvtx3/nvToolsExt.h>
#include <nvtx3/nvToolsExtCounters.h>
#include <nvtx3/nvToolsExtPayload.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #condition);                                    \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

static nvtxEventAttributes_t named(const char* name) {
    nvtxEventAttributes_t attributes = {0};
    attributes.version = NVTX_VERSION;
    attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
    attributes.message.ascii = name;
    return attributes;
}

static void core(void) {
    nvtxInitialize(NULL);
    // The first call of all; depth counts from 0.
    CHECK(nvtxRangePushA("outer") == 0);
    CHECK(nvtxRangePushW(L"wide \u00e4\u4e2d\U0001F600") == 1);
    CHECK(nvtxRangePop() == 1);
    CHECK(nvtxRangePop() == 0);
    CHECK(nvtxRangePop() < 0);
    nvtxMarkA("mark");
    nvtxMarkW(L"wide mark");
    nvtxRangeId_t first = nvtxRangeStartA("first"), second = nvtxRangeStartW(L"second");
    CHECK(first != 0 && second != 0 && first != second);
    nvtxRangeEnd(first);
    nvtxRangeEnd(second);
    nvtxRangePushA("");
    nvtxRangePop();
    nvtxRangePushA(NULL);
    nvtxRangePop();

    nvtxEventAttributes_t attributes = named("colour");
    attributes.colorType = NVTX_COLOR_ARGB;
    attributes.color = 0xff336699;
    nvtxMarkEx(&attributes);
    attributes.colorType = NVTX_COLOR_UNKNOWN;

    attributes.message.ascii = "payload";
    attributes.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
    attributes.payload.ullValue = 18446744073709551615ull;
    nvtxMarkEx(&attributes);
    attributes.payloadType = NVTX_PAYLOAD_TYPE_INT64;
    attributes.payload.llValue = -5;
    nvtxMarkEx(&attributes);
    attributes.payloadType = NVTX_PAYLOAD_TYPE_DOUBLE;
    attributes.payload.dValue = 2.5;
    nvtxMarkEx(&attributes);
    attributes.payload.ullValue = 0xffffffffffffffffull;
    attributes.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT32;
    attributes.payload.uiValue = 4000000000u;
    nvtxMarkEx(&attributes);
    attributes.payloadType = NVTX_PAYLOAD_TYPE_INT32;
    attributes.payload.iValue = -7;
    nvtxMarkEx(&attributes);
    attributes.payloadType = NVTX_PAYLOAD_TYPE_FLOAT;
    attributes.payload.fValue = 0.5f;
    nvtxMarkEx(&attributes);
    attributes.payloadType = NVTX_PAYLOAD_UNKNOWN;

    // Named after its first use, and a category without a name.
    attributes.message.ascii = "categories";
    attributes.category = 3;
    nvtxMarkEx(&attributes);
    nvtxNameCategoryA(3, "loading");
    nvtxMarkEx(&attributes);
    nvtxNameCategoryW(4, L"saving");
    attributes.category = 4;
    nvtxMarkEx(&attributes);
    attributes.category = 5;
    nvtxMarkEx(&attributes);
    attributes.category = 0;

    attributes.message.ascii = "all at once";
    attributes.category = 3;
    attributes.colorType = NVTX_COLOR_ARGB;
    attributes.color = 0x80ff0000;
    attributes.payloadType = NVTX_PAYLOAD_TYPE_INT64;
    attributes.payload.llValue = 42;
    CHECK(nvtxRangePushEx(&attributes) == 0);
    CHECK(nvtxRangePop() == 0);
    nvtxRangeEnd(nvtxRangeStartEx(&attributes));

    attributes = named(NULL);
    attributes.messageType = NVTX_MESSAGE_TYPE_UNICODE;
    attributes.message.unicode = L"wide attributes";
    nvtxMarkEx(&attributes);
    attributes.messageType = NVTX_MESSAGE_UNKNOWN;
    nvtxMarkEx(&attributes);

    nvtxNameOsThreadA((uint32_t)syscall(SYS_gettid), "main thread");
    nvtxNameOsThreadW(12345, L"another");
}

// The memory behind a structure of a smaller size must not be looked at: it ends at a page that cannot be read.
#include <sys/mman.h>
static void small_structures(void) {
    char* pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && mprotect(pages + 4096, 4096, PROT_NONE) == 0);
    nvtxEventAttributes_t attributes = named("not told");
    attributes.category = 3;
    attributes.colorType = NVTX_COLOR_ARGB;
    attributes.color = 0xff00ff00;
    attributes.payloadType = NVTX_PAYLOAD_TYPE_INT64;
    attributes.payload.llValue = 8;
    const uint16_t sizes[] = {4, 8, 14, 20, 31, 32, 44};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        attributes.size = sizes[i];
        char* at = pages + 4096 - sizes[i];
        __builtin_memcpy(at, &attributes, sizes[i]);
        nvtxMarkEx((nvtxEventAttributes_t*)at);
    }
    nvtxMarkEx(NULL);
    munmap(pages, 8192);
}

static void domains(void) {
    nvtxDomainHandle_t one = nvtxDomainCreateA("one"), two = nvtxDomainCreateW(L"two");
    CHECK(one != NULL && two != NULL && one != two);
    nvtxStringHandle_t text = nvtxDomainRegisterStringA(one, "registered");
    CHECK(text != NULL && text == nvtxDomainRegisterStringA(one, "registered"));
    nvtxStringHandle_t wide = nvtxDomainRegisterStringW(two, L"registered \u00fc");
    CHECK(wide != NULL && wide != text);
    nvtxDomainNameCategoryA(one, 3, "first kind");
    nvtxDomainNameCategoryW(two, 3, L"second kind");

    nvtxEventAttributes_t attributes = named(NULL);
    attributes.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    attributes.message.registered = text;
    attributes.category = 3;
    nvtxEventAttributes_t other = attributes;
    other.message.registered = wide;

    nvtxDomainMarkEx(one, &attributes);
    // Ranges of two domains that overlap without nesting; each domain counts its own depth.
    CHECK(nvtxDomainRangePushEx(one, &attributes) == 0);
    CHECK(nvtxDomainRangePushEx(two, &other) == 0);
    CHECK(nvtxDomainRangePushEx(two, &other) == 1);
    CHECK(nvtxDomainRangePop(one) == 0);
    CHECK(nvtxDomainRangePop(two) == 1);
    CHECK(nvtxDomainRangePop(two) == 0);
    CHECK(nvtxDomainRangePop(two) < 0);
    nvtxRangeId_t id = nvtxDomainRangeStartEx(two, &other);
    nvtxDomainRangeEnd(two, id);
    // The default domain by its handle, as Python's package calls it.
    attributes.category = 0;
    CHECK(nvtxDomainRangePushEx(NULL, &attributes) == 0);
    CHECK(nvtxDomainRangePop(NULL) == 0);

    nvtxResourceAttributes_t resource = {0};
    resource.version = NVTX_VERSION;
    resource.size = NVTX_RESOURCE_ATTRIB_STRUCT_SIZE;
    resource.identifierType = NVTX_RESOURCE_TYPE_GENERIC_THREAD_NATIVE;
    resource.identifier.ullValue = 54321;
    resource.messageType = NVTX_MESSAGE_TYPE_ASCII;
    resource.message.ascii = "thread by resource";
    nvtxResourceHandle_t handle = nvtxDomainResourceCreate(one, &resource);
    CHECK(handle != NULL);
    nvtxDomainResourceDestroy(handle);

    nvtxDomainDestroy(two);
    // A domain of the same name after that, and again a string of it.
    nvtxDomainHandle_t again = nvtxDomainCreateA("two");
    CHECK(again != NULL);
    other.category = 0;
    other.message.registered = nvtxDomainRegisterStringA(again, "once more");
    nvtxDomainMarkEx(again, &other);
    nvtxDomainDestroy(again);
    nvtxDomainDestroy(one);
}

typedef struct {
    uint64_t communicator;
    uint32_t rank;
    size_t bytes;
    const char* text;
    nvtxStringHandle_t registered;
    char name[8];
} Payload;

static void payloads(void) {
    nvtxDomainHandle_t domain = nvtxDomainCreateA("NCCL");
    const nvtxPayloadEnum_t operations[] = {{"Sum", 0, 0}, {"Max \"quoted\"", 2, 1}};
    nvtxPayloadEnumAttr_t operation = {0};
    operation.fieldMask = NVTX_PAYLOAD_ENUM_ATTR_FIELD_NAME | NVTX_PAYLOAD_ENUM_ATTR_FIELD_ENTRIES |
                          NVTX_PAYLOAD_ENUM_ATTR_FIELD_NUM_ENTRIES | NVTX_PAYLOAD_ENUM_ATTR_FIELD_SIZE |
                          NVTX_PAYLOAD_ENUM_ATTR_FIELD_SCHEMA_ID;
    operation.name = "operation";
    operation.entries = operations;
    operation.numEntries = 2;
    operation.sizeOfEnum = 4;
    operation.schemaId = NVTX_PAYLOAD_SCHEMA_ID_STATIC_START + 1;
    CHECK(nvtxPayloadEnumRegister(domain, &operation) == NVTX_PAYLOAD_SCHEMA_ID_STATIC_START + 1);

    // A schema with an id of its own, as NCCL registers its collectives.
    typedef struct {
        uint64_t communicator;
        size_t bytes;
        uint32_t operation;
    } AllReduce;
    const nvtxPayloadSchemaEntry_t all_reduce_entries[] = {
        {0, NVTX_PAYLOAD_ENTRY_TYPE_UINT64, "NCCL communicator ID", NULL, 0, 0},
        {0, NVTX_PAYLOAD_ENTRY_TYPE_SIZE, "Message size [bytes]", "of one rank", 0, 8},
        {0, NVTX_PAYLOAD_SCHEMA_ID_STATIC_START + 1, "Reduction operation", NULL, 0, 16},
    };
    nvtxPayloadSchemaAttr_t schema = {0};
    schema.fieldMask = NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_NAME | NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_TYPE |
                       NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_ENTRIES | NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_NUM_ENTRIES |
                       NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_STATIC_SIZE | NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_SCHEMA_ID;
    schema.name = "ncclAllReduce";
    schema.type = NVTX_PAYLOAD_SCHEMA_TYPE_STATIC;
    schema.entries = all_reduce_entries;
    schema.numEntries = 3;
    schema.payloadStaticSize = sizeof(AllReduce);
    schema.schemaId = NVTX_PAYLOAD_SCHEMA_ID_STATIC_START + 5;
    CHECK(nvtxPayloadSchemaRegister(domain, &schema) == NVTX_PAYLOAD_SCHEMA_ID_STATIC_START + 5);

    AllReduce all_reduce = {0x1122334455667788, 4096, 2};
    nvtxPayloadData_t data[2] = {{NVTX_PAYLOAD_SCHEMA_ID_STATIC_START + 5, sizeof(all_reduce), &all_reduce}};
    nvtxEventAttributes_t attributes = named("ncclAllReduce");
    attributes.payloadType = NVTX_PAYLOAD_TYPE_EXT;
    attributes.reserved0 = 1;
    attributes.payload.ullValue = NVTX_POINTER_AS_PAYLOAD_ULLVALUE(data);
    CHECK(nvtxDomainRangePushEx(domain, &attributes) == 0);
    CHECK(nvtxDomainRangePop(domain) == 0);

    // An id from the tool, offsets left to the tool, strings that the payload points to, and a name of the event.
    const nvtxPayloadSchemaEntry_t entries[] = {
        {0, NVTX_PAYLOAD_ENTRY_TYPE_UINT64, "communicator"},
        {0, NVTX_PAYLOAD_ENTRY_TYPE_UINT32, "rank"},
        {0, NVTX_PAYLOAD_ENTRY_TYPE_SIZE, "bytes"},
        {NVTX_PAYLOAD_ENTRY_FLAG_DEEP_COPY, NVTX_PAYLOAD_ENTRY_TYPE_CSTRING, "text"},
        {0, NVTX_PAYLOAD_ENTRY_TYPE_NVTX_REGISTERED_STRING_HANDLE, "registered"},
        {NVTX_PAYLOAD_ENTRY_FLAG_EVENT_MESSAGE, NVTX_PAYLOAD_ENTRY_TYPE_CSTRING, "name", NULL, 8},
    };
    nvtxPayloadSchemaAttr_t dynamic = {0};
    dynamic.fieldMask = NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_TYPE | NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_ENTRIES |
                        NVTX_PAYLOAD_SCHEMA_ATTR_FIELD_NUM_ENTRIES;
    dynamic.type = NVTX_PAYLOAD_SCHEMA_TYPE_STATIC;
    dynamic.entries = entries;
    dynamic.numEntries = 6;
    // Not in the mask, so not there.
    dynamic.name = (const char*)1;
    dynamic.schemaId = 7;
    uint64_t id = nvtxPayloadSchemaRegister(domain, &dynamic);
    CHECK(id >= NVTX_PAYLOAD_SCHEMA_ID_DYNAMIC_START);
    nvtxPayloadSchemaAttr_t nothing = {0};
    CHECK(nvtxPayloadSchemaRegister(domain, &nothing) == 0);
    CHECK(nvtxDomainIsEnabled(domain) == 1);

    Payload payload = {1, 2, 3, "far away", nvtxDomainRegisterStringA(domain, "by handle"), "event 1"};
    nvtxPayloadData_t mine = {id, sizeof(payload), &payload};
    nvtxMarkPayload(domain, &mine, 1);
    CHECK(nvtxRangePushPayload(domain, &mine, 1) == 0);
    CHECK(nvtxRangePopPayload(domain, data, 1) == 0);
    nvtxRangeId_t range = nvtxRangeStartPayload(domain, &mine, 1);
    CHECK(range != 0);
    nvtxRangeEndPayload(domain, range, data, 1);

    // A predefined type instead of a schema, a string of unknown length, and a payload of no length.
    int32_t numbers[3] = {1, 2, 3};
    nvtxPayloadData_t plain[3] = {{NVTX_PAYLOAD_ENTRY_TYPE_INT32, sizeof(numbers), numbers},
                                  {NVTX_PAYLOAD_ENTRY_TYPE_CSTRING, SIZE_MAX, "to its end"},
                                  {NVTX_PAYLOAD_ENTRY_TYPE_INT32, SIZE_MAX, numbers}};
    attributes = named("plain");
    attributes.payloadType = NVTX_PAYLOAD_TYPE_EXT;
    attributes.reserved0 = 3;
    attributes.payload.ullValue = NVTX_POINTER_AS_PAYLOAD_ULLVALUE(plain);
    nvtxDomainMarkEx(domain, &attributes);
    attributes.reserved0 = -1;
    nvtxDomainMarkEx(domain, &attributes);
}

static void counters(void) {
    nvtxDomainHandle_t domain = nvtxDomainCreateA("counters");
    nvtxCounterAttr_t attributes = {0};
    attributes.structSize = sizeof(attributes);
    attributes.schemaId = NVTX_PAYLOAD_ENTRY_TYPE_INT64;
    attributes.name = "whole";
    uint64_t whole = nvtxCounterRegister(domain, &attributes);
    attributes.schemaId = NVTX_PAYLOAD_ENTRY_TYPE_FLOAT;
    attributes.name = "single";
    attributes.counterId = NVTX_COUNTER_ID_STATIC_START + 9;
    uint64_t single = nvtxCounterRegister(domain, &attributes);
    CHECK(whole != 0 && single == NVTX_COUNTER_ID_STATIC_START + 9);
    nvtxCounterSampleInt64(domain, whole, -3);
    nvtxCounterSampleFloat64(domain, single, 1.25);
    float value = 0.75f;
    nvtxCounterSample(domain, single, &value, sizeof(value));
    nvtxCounterSample(domain, single, &value, 2);
    nvtxCounterSampleFloat64(domain, 99, 1.25);
}

static void pytorch(void) {
    nvtxRangePushA("aten::add, seq = 12, op_id = 17");
    nvtxRangePushA("AddBackward0, op_id = 18, sizes = [[2, 3], []], input_op_ids = [(17,0)]");
    nvtxRangePushA("aten::add, seq = 13, op_id = 19");
    nvtxRangePop();
    nvtxRangePop();
    nvtxRangePop();
    nvtxRangePushA("epoch 3, step 7");
    nvtxRangePop();
}

int main(void) {
    core();
    small_structures();
    domains();
    payloads();
    counters();
    pytorch();
    return 0;
}
