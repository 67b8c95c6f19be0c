/* The guarded program of the benchmarks: says when it started, on the clock that the bench reads too, and waits. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* child FILE NAME: appends "NAME PID NANOSECONDS" to FILE in one write. */
int main(int argc, char **argv) {
  struct timespec now;
  char line[256];
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (argc != 3) return 2;
  int length = snprintf(line, sizeof line, "%s %d %lld\n", argv[2], (int)getpid(),
                        (long long)now.tv_sec * 1000000000LL + now.tv_nsec);
  int file = open(argv[1], O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0 || write(file, line, (size_t)length) != length) return 1;
  close(file);
  for (;;) pause();
}
