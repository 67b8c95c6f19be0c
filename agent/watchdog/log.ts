import { appendFile, mkdir, rename, stat, write } from "node:fs";
import { dirname } from "node:path";

/** Beyond this the file becomes `.1`, and the `.1` before it is gone. */
const bytesMax = 1024 * 1024;
/** Lines that wait for a disk that hangs; more are lost, and counted in the next line. */
const waitingMax = 200;
/** As much text waits for a reader of stderr. */
const untoldMax = 65_536;

/** The watchdog's log: JSON lines, in a file of at most 1 MiB and the one before it. Never waits, never throws. */
export class Log {
  readonly #path: string;
  readonly #alsoStderr: boolean;
  #waiting: string[] = [];
  #lost = 0;
  #writing = false;
  #telling = false;
  #untold = "";

  /** `alsoStderr`: init collects what is said there. */
  constructor(path: string, alsoStderr = false) {
    this.#path = path;
    this.#alsoStderr = alsoStderr;
  }

  /** One fact. `level` as in the agent's own log: 30 is information, 40 a warning, 50 an error. */
  say(level: 30 | 40 | 50, msg: string, fields: Readonly<Record<string, unknown>> = {}): void {
    const time = new Date().toISOString();
    const line = `${JSON.stringify({ level, time, part: "watchdog", ...fields, ...(this.#lost > 0 && { lost: this.#lost }), msg })}\n`;
    if (this.#alsoStderr) this.#tellInit(line);
    if (this.#waiting.length >= waitingMax) {
      this.#lost += 1;
      return;
    }
    this.#lost = 0;
    this.#waiting.push(line);
    if (!this.#writing) this.#write();
  }

  /** Not by process.stderr, which waits for a reader that hangs. What does not fit is in the file. */
  #tellInit(line: string): void {
    if (this.#untold.length < untoldMax) this.#untold += line;
    if (this.#telling) return;
    const text = this.#untold;
    this.#untold = "";
    this.#telling = true;
    write(2, text, () => {
      this.#telling = false;
      if (this.#untold !== "") this.#tellInit("");
    });
  }

  #write(): void {
    const lines = this.#waiting.join("");
    this.#waiting = [];
    this.#writing = true;
    // One question to the disk at a time: one that hangs holds one thread of the pool, for as long as it hangs.
    this.#rotate(() => this.#append(lines, () => this.#makeFolder(() => this.#append(lines, () => this.#written()))));
  }

  #append(lines: string, noFolder: () => void): void {
    appendFile(this.#path, lines, { mode: 0o600 }, (error) => {
      if (error?.code === "ENOENT") noFolder();
      else this.#written(); // what another disk error took is lost
    });
  }

  #makeFolder(then: () => void): void {
    mkdir(dirname(this.#path), { recursive: true, mode: 0o700 }, then);
  }

  #written(): void {
    this.#writing = false;
    if (this.#waiting.length > 0) this.#write();
  }

  #rotate(then: () => void): void {
    stat(this.#path, (error, found) => {
      if (error || found.size < bytesMax) then();
      else rename(this.#path, `${this.#path}.1`, then);
    });
  }
}
