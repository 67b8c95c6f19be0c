/**
 * Starts processes by posix_spawn(3) instead of Node's fork. Node copies the page tables of the whole agent for each start
 * (measured: 3 ms at 55 MB, 8 ms at 115 MB, growing with memory); posix_spawn shares them until the exec (1 ms). The C
 * functions are called through koffi's prebuilt addon; where it does not load (musl, other systems) `launch.driver.ts` goes
 * on with child_process, and everything works, slower.
 */
import { constants } from "node:os";
import { errnoName, type Koffi, koffi, type Native } from "../libc.driver.ts";
import { inheritable } from "./descriptors.driver.ts";
import type { Launch, Launcher } from "./launch.driver.ts";

/** From spawn.h of glibc: new session; reset signal dispositions; set the signal mask. */
const flags = 0x80 | 0x04 | 0x08;
/** At least as large as the opaque structures of spawn.h and signal.h on every 64-bit glibc (336, 80 and 128 bytes). */
const opaqueBytes = 512;
const noHang = 1;
const readOnly = 0;

const signalNames = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

let tried: { readonly launcher: Launcher | undefined } | undefined;

/** The one launcher of this process, or undefined where the addon or a C function is missing. */
export function posixLauncher(): Launcher | undefined {
  tried ??= { launcher: make() };
  return tried.launcher;
}

function make(): Launcher | undefined {
  try {
    const addon = koffi();
    return addon && new PosixLauncher(addon).launch;
  } catch {
    return undefined; // a libc without one of the functions
  }
}

class PosixLauncher {
  readonly #c: Readonly<Record<"spawn" | "begin" | "open" | "dup" | "chdir" | "close" | "end" | "wait", Native>>;
  /** glibc 2.34 and newer. */
  readonly #closeFrom: Native | undefined;
  readonly #attributes = Buffer.alloc(opaqueBytes);
  readonly #running = new Map<number, Launch["exited"]>();

  constructor(addon: Koffi) {
    const libc = addon.load(null);
    this.#c = {
      spawn: libc.func(
        "int posix_spawn(_Out_ int *pid, const char *path, void *actions, void *attributes, const char **argv, const char **envp)",
      ),
      begin: libc.func("int posix_spawn_file_actions_init(void *actions)"),
      open: libc.func(
        "int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int oflag, int mode)",
      ),
      dup: libc.func("int posix_spawn_file_actions_adddup2(void *actions, int from, int to)"),
      chdir: libc.func("int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)"),
      close: libc.func("int posix_spawn_file_actions_addclose(void *actions, int fd)"),
      end: libc.func("int posix_spawn_file_actions_destroy(void *actions)"),
      wait: libc.func("int waitpid(int pid, _Out_ int *status, int options)"),
    };
    this.#closeFrom = optional(() =>
      libc.func("int posix_spawn_file_actions_addclosefrom_np(void *actions, int from)"),
    );
    const all = Buffer.alloc(opaqueBytes);
    const none = Buffer.alloc(opaqueBytes);
    libc.func("int sigfillset(void *set)")(all);
    libc.func("int sigemptyset(void *set)")(none);
    libc.func("int posix_spawnattr_init(void *attributes)")(this.#attributes);
    libc.func("int posix_spawnattr_setflags(void *attributes, short flags)")(this.#attributes, flags);
    // Node ignores SIGPIPE, and an ignored signal stays ignored over an exec: a workload must start with all defaults.
    libc.func("int posix_spawnattr_setsigdefault(void *attributes, void *set)")(this.#attributes, all);
    libc.func("int posix_spawnattr_setsigmask(void *attributes, void *set)")(this.#attributes, none);
    // libuv waits for its own children only, one by one; ours are ours to wait for.
    process.on("SIGCHLD", () => this.#reap());
  }

  readonly launch: Launcher = ({ file, args, cwd, env, output, exited }) => {
    const actions = Buffer.alloc(opaqueBytes);
    const pid = [0];
    this.#c.begin(actions);
    try {
      this.#c.open(actions, 0, "/dev/null", readOnly, 0);
      this.#c.dup(actions, output, 1);
      this.#c.dup(actions, output, 2);
      this.#c.chdir(actions, cwd);
      if (this.#closeFrom) this.#closeFrom(actions, 3);
      else for (const fd of inheritable()) this.#c.close(actions, fd);
      const variables = Object.entries(env).filter(([, value]) => value !== undefined);
      const envp = [...variables.map(([name, value]) => `${name}=${value}`), null];
      const error = this.#c.spawn(pid, file, actions, this.#attributes, [file, ...args, null], envp);
      if (error !== 0) return { failed: errnoWords(error) };
    } finally {
      this.#c.end(actions);
    }
    this.#running.set(pid[0] as number, exited);
    return { pid: pid[0] as number };
  };

  /** One SIGCHLD may stand for many exits. */
  #reap(): void {
    for (const [pid, exited] of this.#running) {
      const status = [0];
      if (this.#c.wait(pid, status, noHang) !== pid) continue;
      this.#running.delete(pid);
      const word = status[0] as number;
      const signal = word & 0x7f;
      if (signal === 0) exited((word >> 8) & 0xff, null);
      else exited(null, signalNames.get(signal) ?? `signal ${signal}`);
    }
  }
}

function optional(find: () => Native): Native | undefined {
  try {
    return find();
  } catch {
    return undefined;
  }
}

function errnoWords(error: number): string {
  const name = errnoName(error);
  return name === "ENOENT" ? "ENOENT: no such program, or no such folder to run it in" : name;
}
