/* A slow disk: chaos/disk.py preloads this into a server. While the file that SLOW_DISK names exists, each fsync and
   fdatasync takes longer, by the milliseconds that the file holds, or until the file is gone. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { STEP_MS = 5 };

static char path[512];

/* Servers overwrite their environment to change what ps shows: the name is copied at once. */
__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("SLOW_DISK");
    if (name != NULL && strlen(name) < sizeof path) strcpy(path, name);
}

static void delay(void) {
    char text[16] = "";
    int before = errno, file = path[0] ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        long left = read(file, text, sizeof text - 1) > 0 ? atol(text) : 0;
        close(file);
        for (; left > 0 && access(path, F_OK) == 0; left -= STEP_MS) {
            struct timespec step = {0, STEP_MS * 1000000L};
            nanosleep(&step, NULL);
        }
    }
    errno = before;
}

int fsync(int file) {
    delay();
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    delay();
    return (int)syscall(SYS_fdatasync, file);
}
