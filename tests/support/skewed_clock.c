/* Shifts the wall clock of a process, and of nothing else: preload it, with SKEWS="-86400 300 ..." (seconds).
 * Each program takes one of the shifts, by its process id; what it forks keeps it. Monotonic clocks stay.
 * With SKEW_FILE, a file of 8 bytes, the shift is the number in it at each moment, so whoever writes there moves the clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift;
static volatile int64_t *moved;

__attribute__((constructor)) static void choose(void)
{
    const char *text = getenv("SKEWS");
    long found[16];
    int count = 0;
    while (text && *text && count < 16) {
        char *end;
        found[count] = strtol(text, &end, 10);
        if (end == text)
            break;
        count++;
        text = end;
    }
    shift = count ? found[getpid() % count] : 0;
    const char *file = getenv("SKEW_FILE");
    int open_file = file ? open(file, O_RDONLY) : -1;
    if (open_file >= 0) {
        void *mapped = mmap(NULL, sizeof *moved, PROT_READ, MAP_SHARED, open_file, 0);
        moved = mapped == MAP_FAILED ? NULL : mapped;
        close(open_file);
    }
}

int clock_gettime(clockid_t clock, struct timespec *into)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, into);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        into->tv_sec += moved ? *moved : shift;
    return failed;
}

int gettimeofday(struct timeval *restrict into, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    into->tv_sec = now.tv_sec;
    into->tv_usec = now.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *into)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into)
        *into = now.tv_sec;
    return now.tv_sec;
}
