import { KernelFile } from "../sensors/proc-read.driver.ts";
import { type ProcessLine, parseProcessLine } from "./process-line.ts";

/**
 * The line of one process that is looked at again and again, kept open. While nothing has changed it is the very same object:
 * what is kept from look to look grows old once, and a process at rest leaves nothing to be collected. Whoever made it closes it.
 */
export class ProcessFile {
  readonly #pid: number;
  readonly #file: KernelFile;
  #text = "";
  #line: ProcessLine | undefined;

  constructor(pid: number) {
    this.#pid = pid;
    this.#file = new KernelFile(`/proc/${pid}/stat`);
  }

  /** Undefined when there is no such process. */
  line(): ProcessLine | undefined {
    const text = this.#file.text();
    if (text === undefined) return undefined;
    if (text === this.#text) return this.#line;
    const line = parseProcessLine(this.#pid, text);
    this.#text = text;
    // On which core it was last, and such, is no change.
    if (!line || !this.#line || !isSame(line, this.#line)) this.#line = line;
    return this.#line;
  }

  close(): void {
    this.#file.close();
  }
}

function isSame(a: ProcessLine, b: ProcessLine): boolean {
  return (
    a.cpuTicks === b.cpuTicks &&
    a.residentPages === b.residentPages &&
    a.state === b.state &&
    a.threads === b.threads &&
    a.startTicks === b.startTicks &&
    a.ppid === b.ppid &&
    a.session === b.session &&
    a.name === b.name
  );
}
