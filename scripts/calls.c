// Preloaded (LD_PRELOAD) into a process: counts its calls to the system that concern one folder, and at the call with a
// given number kills the process or lets the call fail. A write that is killed has written half.
//
//   arm(folder, at, error, lasting)   at: number of the call, from 1, or 0 for none; error: an errno, or 0 to kill
//   seen()                            how many there have been since
//   told(number)                      the name of the call with that number

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { MOST = 4096 };

static char folder[4096];
static size_t folder_length;
static long at, calls;
static int with, stays;
static const char *names[MOST + 1];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void arm(const char *path, long number, int error, int lasting) {
    snprintf(folder, sizeof folder, "%s", path);
    folder_length = strlen(folder);
    at = number;
    with = error;
    stays = lasting;
    calls = 0;
}

long seen(void) { return calls; }

const char *told(long number) { return number >= 1 && number <= MOST ? names[number] : NULL; }

static int concerns(const char *path) {
    return folder_length && path && strncmp(path, folder, folder_length) == 0
        && (path[folder_length] == '/' || !path[folder_length]);
}

static int concerns_file(int descriptor) {
    char link[64], path[4096];
    if (!folder_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return concerns(path);
}

enum { GO_ON, FAIL, DIE };

// What is to become of this call.
static int turn(const char *name) {
    pthread_mutex_lock(&mutex);
    calls++;
    if (calls <= MOST) names[calls] = name;
    int now = at && (calls == at || (stays && calls > at));
    pthread_mutex_unlock(&mutex);
    if (!now) return GO_ON;
    return with ? FAIL : DIE;
}

// For a call with nothing to do by halves: true if it fails.
static int fails(const char *name) {
    int what = turn(name);
    if (what == DIE) raise(SIGKILL);
    if (what == FAIL) errno = with;
    return what == FAIL;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...) {                \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        int mode = va_arg(rest, int);                           \
        va_end(rest);                                           \
        if (concerns(path) && fails("open")) return -1;         \
        return REAL(name)(path, flags, mode);                   \
    }
OPEN(open)
OPEN(open64)

ssize_t read(int descriptor, void *buffer, size_t count) {
    if (concerns_file(descriptor) && fails("read")) return -1;
    return REAL(read)(descriptor, buffer, count);
}

ssize_t write(int descriptor, const void *buffer, size_t count) {
    if (concerns_file(descriptor)) {
        int what = turn("write");
        if (what != GO_ON) {
            ssize_t half = REAL(write)(descriptor, buffer, count / 2);
            if (what == DIE) raise(SIGKILL);
            (void)half;
            errno = with;
            return -1;
        }
    }
    return REAL(write)(descriptor, buffer, count);
}

#define ON_FILE(name, kind, parameters, arguments)              \
    int name parameters {                                       \
        if (concerns_file(descriptor) && fails(kind)) return -1;\
        return REAL(name) arguments;                            \
    }
ON_FILE(fsync, "fsync", (int descriptor), (descriptor))
ON_FILE(ftruncate, "ftruncate", (int descriptor, off_t length), (descriptor, length))
ON_FILE(ftruncate64, "ftruncate", (int descriptor, off64_t length), (descriptor, length))

#define ON_PATH(name, kind, parameters, arguments)              \
    int name parameters {                                       \
        if (concerns(path) && fails(kind)) return -1;           \
        return REAL(name) arguments;                            \
    }
ON_PATH(rename, "rename", (const char *path, const char *to), (path, to))
ON_PATH(unlink, "unlink", (const char *path), (path))
ON_PATH(rmdir, "rmdir", (const char *path), (path))
ON_PATH(mkdir, "mkdir", (const char *path, mode_t mode), (path, mode))

DIR *opendir(const char *path) {
    if (concerns(path) && fails("opendir")) return NULL;
    return REAL(opendir)(path);
}
