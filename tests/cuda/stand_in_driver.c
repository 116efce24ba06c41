/* The driver of a GPU that is not there: memory is the host's, kernels do nothing but count. What test_host_side.py runs
   meets all of numba-cuda but the GPU itself. What is asked for by name and is not here succeeds, and does nothing. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef void *Handle;
enum { SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NO_CONTEXT = 201, TOO_LARGE = 720 };

/* What a test reads and sets. */
long cluster, blocks, launches, allocations, frees, blocks_at_once = 1, clusters_at_once = 16, memory_left = 1L << 34;
long multiprocessors = 132, devices = 2, capability = 90, refused = 0, failure = 0, waits;
static long last_handle = 0x1000;
static __thread Handle contexts[16];
static __thread int depth;

static Result nothing(void) { return SUCCESS; }
static Handle fresh(void) { return (Handle)(last_handle += 16); }

Result cuInit(unsigned flags) { return SUCCESS; }
Result cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
Result cuDeviceGetCount(int *count) { *count = devices; return SUCCESS; }
Result cuDeviceGet(int *device, int number) { *device = number; return SUCCESS; }
Result cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "a stand-in"); return SUCCESS; }
Result cuDeviceGetAttribute(int *value, int which, int device) {
    switch (which) {
    case 10: *value = 32; break;                       /* of a warp */
    case 13: *value = 1980000; break;                  /* kHz */
    case 16: *value = multiprocessors; break;
    case 38: *value = 50 << 20; break;                 /* L2 */
    case 75: *value = capability / 10; break;
    case 76: *value = capability % 10; break;
    case 97: *value = 227 << 10; break;                /* shared memory of a block */
    case 1: case 2: case 3: *value = 1024; break;
    case 5: *value = 1 << 30; break;
    case 6: case 7: *value = 65535; break;
    default: *value = 1;
    }
    return SUCCESS;
}
Result cuDevicePrimaryCtxRetain(Handle *context, int device) { *context = (Handle)(long)(0x100 + device); return SUCCESS; }
Result cuCtxPushCurrent(Handle context) { contexts[++depth] = context; return SUCCESS; }
Result cuCtxPopCurrent(Handle *context) { if (!depth) return NO_CONTEXT; *context = contexts[depth--]; return SUCCESS; }
Result cuCtxSetCurrent(Handle context) { depth += !depth; contexts[depth] = context; return SUCCESS; }
Result cuCtxGetCurrent(Handle *context) { *context = contexts[depth]; return SUCCESS; }
Result cuCtxGetDevice(int *device) { *device = contexts[depth] ? (int)((long)contexts[depth] - 0x100) : 0; return contexts[depth] ? SUCCESS : NO_CONTEXT; }
/* What a stream, or an event, comes after: so many launches. Copies, to and from, that do not come after all of them. */
long not_waited_for[2];
static long lasts[1 << 16];
static long *last_of(Handle it) { return lasts + (long)it / 16 % (1 << 16); }
Result cuEventRecord(Handle event, Handle stream) { *last_of(event) = *last_of(stream); return SUCCESS; }
Result cuMemcpyDtoHAsync(void *to, void *from, size_t size, Handle stream) {
    not_waited_for[1] += launches > *last_of(stream);
    memcpy(to, from, size);
    return SUCCESS;
}

/* Copies to the device are on their way until somebody waits, those back arrive at once. */
static struct { void *to, *from; size_t size; } late[64];
static int lates;
static void arrive(void) { for (int n = 0; n < lates; n++) memcpy(late[n].to, late[n].from, late[n].size); lates = 0; }
Result cuMemcpyHtoDAsync(void *to, void *from, size_t size, Handle stream) {
    if (lates == 64) arrive();
    not_waited_for[0] += launches > *last_of(stream);
    late[lates].to = to, late[lates].from = from, late[lates++].size = size;
    return SUCCESS;
}
Result cuCtxSynchronize(void) { arrive(); return failure; }
Result cuStreamSynchronize(Handle stream) { arrive(); return failure; }
Result cuEventSynchronize(Handle event) { arrive(); return failure; }
Result cuStreamGetCtx(Handle stream, Handle *context) { *context = contexts[depth]; return SUCCESS; }
Result cuStreamCreate(Handle *stream, unsigned flags) { *stream = fresh(); return SUCCESS; }
Result cuEventCreate(Handle *event, unsigned flags) { *event = fresh(); return SUCCESS; }
Result cuStreamWaitEvent(Handle stream, Handle event, unsigned flags) {
    long *own = last_of(stream), other = *last_of(event);
    waits++, *own = *own > other ? *own : other;
    return SUCCESS;
}
Result cuPointerGetAttribute(int *value, int which, Handle where) { *value = 0; return SUCCESS; }

Result cuMemAlloc(Handle *found, size_t size) {
    if ((long)size > memory_left) return OUT_OF_MEMORY;
    long *memory = aligned_alloc(512, (size + 512 + 511) / 512 * 512);
    *memory = size, memory_left -= size, allocations++;
    *found = (char *)memory + 512;
    return SUCCESS;
}
Result cuMemFree(Handle where) {
    if (!contexts[depth]) return NO_CONTEXT;
    long *memory = (long *)((char *)where - 512);
    frees++, memory_left += *memory;
    free(memory);
    return SUCCESS;
}
Result cuMemGetInfo(size_t *left, size_t *all) { *left = memory_left, *all = 1L << 34; return SUCCESS; }
Result cuMemHostAlloc(Handle *found, size_t size, unsigned flags) { *found = calloc(1, size); return SUCCESS; }
Result cuMemFreeHost(Handle where) { free(where); return SUCCESS; }
Result cuMemHostGetDevicePointer(Handle *found, Handle where, unsigned flags) { *found = where; return SUCCESS; }
static Result copy(void *to, void *from, size_t size) { memcpy(to, from, size); return SUCCESS; }
Result cuMemsetD32Async(unsigned *to, unsigned value, size_t count) {
    if ((long)to % 4) return INVALID_VALUE;
    while (count--) *to++ = value;
    return SUCCESS;
}
Result cuMemsetD8Async(void *to, unsigned char value, size_t count) { memset(to, value, count); return SUCCESS; }

Result cuLibraryLoadData(Handle *library) { *library = fresh(); return SUCCESS; }
Result cuLibraryGetKernel(Handle *kernel) { *kernel = fresh(); return SUCCESS; }
Result cuKernelGetFunction(Handle *function, Handle kernel) { *function = kernel; return SUCCESS; }
Result cuKernelGetAttribute(int *value, int which, Handle kernel, int device) { *value = which == 0 ? 1024 : 32; return SUCCESS; }
Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int *count) { *count = blocks_at_once; return SUCCESS; }
Result cuOccupancyMaxActiveClusters(int *count) { *count = clusters_at_once; return SUCCESS; }
Result cuLaunchKernelEx(unsigned *config, Handle kernel, void **arguments, void **extra) {
    if (refused && config[6]) return refused--, TOO_LARGE; /* of those with dynamic shared memory */
    *last_of(*(Handle *)(config + 8)) = ++launches, cluster = 1, blocks = (long)config[0] * config[1] * config[2];
    char *attributes = *(char **)(config + 10);
    for (unsigned n = 0; n < config[12]; n++)
        if (*(int *)(attributes + 72 * n) == 4) cluster = *(unsigned *)(attributes + 72 * n + 8);
    return SUCCESS;
}

Result cuGetErrorName(Result error, const char **name) { *name = error == TOO_LARGE ? "CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE" : "another"; return SUCCESS; }
Result cuGetErrorString(Result error, const char **text) { *text = "as a test wants it"; return SUCCESS; }

static const struct { const char *name; void *function; } known[] = {
#define KNOWN(name) { #name, name }
    KNOWN(cuInit), KNOWN(cuDriverGetVersion), KNOWN(cuDeviceGetCount), KNOWN(cuDeviceGet), KNOWN(cuDeviceGetName),
    KNOWN(cuDeviceGetAttribute), KNOWN(cuDevicePrimaryCtxRetain), KNOWN(cuCtxPushCurrent), KNOWN(cuCtxPopCurrent),
    KNOWN(cuCtxSetCurrent), KNOWN(cuCtxGetCurrent), KNOWN(cuCtxGetDevice), KNOWN(cuCtxSynchronize),
    KNOWN(cuStreamSynchronize), KNOWN(cuStreamGetCtx), KNOWN(cuStreamCreate), KNOWN(cuEventCreate), KNOWN(cuMemAlloc),
    KNOWN(cuMemFree), KNOWN(cuMemGetInfo), KNOWN(cuMemHostAlloc), KNOWN(cuMemFreeHost), KNOWN(cuMemHostGetDevicePointer),
    KNOWN(cuMemsetD32Async), KNOWN(cuMemsetD8Async), KNOWN(cuMemcpyHtoDAsync), KNOWN(cuEventSynchronize), KNOWN(cuEventRecord),
    KNOWN(cuMemcpyDtoHAsync), KNOWN(cuGetErrorName), KNOWN(cuGetErrorString), KNOWN(cuStreamWaitEvent), KNOWN(cuPointerGetAttribute), KNOWN(cuLibraryLoadData), KNOWN(cuLibraryGetKernel), KNOWN(cuKernelGetFunction),
    KNOWN(cuKernelGetAttribute), KNOWN(cuOccupancyMaxActiveBlocksPerMultiprocessor),
    KNOWN(cuOccupancyMaxActiveClusters), KNOWN(cuLaunchKernelEx),
    { "cuMemcpyHtoD", copy }, { "cuMemcpyDtoH", copy },
    { "cuMemcpyDtoD", copy }, { "cuMemcpyDtoDAsync", copy },
};

Result cuGetProcAddress_v2(const char *name, void **found, int version, uint64_t flags, int *status);
Result cuGetProcAddress(const char *name, void **found, int version, uint64_t flags) { return cuGetProcAddress_v2(name, found, version, flags, NULL); }
Result cuGetProcAddress_v2(const char *name, void **found, int version, uint64_t flags, int *status) {
    *found = nothing;
    if (status) *status = 0;
    if (!strcmp(name, "cuGetProcAddress")) *found = cuGetProcAddress_v2;
    for (size_t n = 0; n < sizeof known / sizeof *known; n++)
        if (!strcmp(name, known[n].name)) *found = known[n].function;
    return SUCCESS;
}
