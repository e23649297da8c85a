/* Preloaded into a relay: its disk cannot write any more while the file FAIL_FSYNC_WHILE is there. Only files whose name
 * contains FAIL_FSYNC_OF are concerned. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int fd) {
    const char *while_, *of;
    char link[64], name[4096];
    ssize_t length;
    while_ = getenv("FAIL_FSYNC_WHILE");
    of = getenv("FAIL_FSYNC_OF");
    if (while_ == NULL || of == NULL || access(while_, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = '\0';
    return strstr(name, of) != NULL;
}

int fsync(int fd) {
    if (fails(fd)) return errno = EIO, -1;
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
    if (fails(fd)) return errno = EIO, -1;
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
