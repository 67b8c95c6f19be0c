/**
 * A Python program that writes over its environment and then sleeps, as nginx does with its title: after a moment nobody can read the
 * marker in /proc any more. `first` is done before.
 */
export function shedsEnvironment(first = ""): string {
  return `
import ctypes, os, time
libc = ctypes.CDLL(None)
${first}
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
libc.unsetenv(b"BLUEFLAME_MARK")
start = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[47])
end = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[48])
ctypes.memset(start, 0, end - start)
time.sleep(600)`;
}
