/* Loaded into the processes of a test (LD_PRELOAD): the time of day is the machine's and as many seconds more as a file
   says, which all of them share. Clocks that only go on are left alone, as they are where somebody sets a clock.
   A wait until a time of day, of which a database has many, goes by the same clock, also when it is set meanwhile. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define LOOK (SECOND / 10)
#define THIRTY_YEARS 1000000000 /* no machine runs for so long: what is less is the time of a clock that only goes on */

static volatile int64_t *ahead;

__attribute__((constructor)) static void find(void) {
  const char *path = getenv("TEST_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *page = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED) ahead = page;
  close(file);
}

int clock_gettime(clockid_t which, struct timespec *said) {
  int failed = (int)syscall(SYS_clock_gettime, which, said);
  if (!failed && ahead && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) said->tv_sec += *ahead;
  return failed;
}

int gettimeofday(struct timeval *restrict said, void *restrict zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  said->tv_sec = now.tv_sec;
  said->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *said) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (said) *said = now.tv_sec;
  return now.tv_sec;
}

/* Wakes to look at the clock, which to the caller is one of the wakings for nothing that it has to bear. */
int pthread_cond_timedwait(pthread_cond_t *restrict what, pthread_mutex_t *restrict held,
                           const struct timespec *restrict end) {
  struct timespec now, look;
  if (end->tv_sec < THIRTY_YEARS) return pthread_cond_clockwait(what, held, CLOCK_MONOTONIC, end);
  clock_gettime(CLOCK_REALTIME, &now);
  int64_t left = (end->tv_sec - now.tv_sec) * SECOND + end->tv_nsec - now.tv_nsec;
  clock_gettime(CLOCK_MONOTONIC, &look);
  look.tv_nsec += left < 0 ? 0 : left > LOOK ? LOOK : left;
  look.tv_sec += look.tv_nsec / SECOND;
  look.tv_nsec %= SECOND;
  int failed = pthread_cond_clockwait(what, held, CLOCK_MONOTONIC, &look);
  return failed == ETIMEDOUT && left > LOOK ? 0 : failed;
}
