/* Shifts the wall clock of a process, and of nothing else: preload it, with SKEWS="-86400 300 ..." (seconds).
 * Each program takes one of the shifts, by its process id; what it forks keeps it. Monotonic clocks stay. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift;

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
}

int clock_gettime(clockid_t clock, struct timespec *into)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, into);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        into->tv_sec += shift;
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
