/* The floor: a supervisor that only waits and forks. No store, no identity, no output, no limits. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t start(const char *child, const char *file, int number) {
  char name[32];
  snprintf(name, sizeof name, "w%d", number);
  pid_t pid = vfork();
  if (pid == 0) {
    execl(child, child, file, name, (char *)0);
    _exit(127);
  }
  return pid;
}

/* loop CHILD FILE COUNT */
int main(int argc, char **argv) {
  if (argc != 4) return 2;
  int count = atoi(argv[3]);
  pid_t *pids = calloc((size_t)count, sizeof *pids);
  if (!pids) return 1;
  for (int i = 0; i < count; i++) pids[i] = start(argv[1], argv[2], i);
  for (;;) {
    int status;
    pid_t dead = waitpid(-1, &status, 0);
    if (dead < 0) return 1;
    for (int i = 0; i < count; i++) {
      if (pids[i] == dead) pids[i] = start(argv[1], argv[2], i);
    }
  }
}
