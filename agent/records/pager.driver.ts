import { spawn } from "node:child_process";
import { codeOf } from "@blueflame/shared/errors/code.ts";
import { bornOrdinary } from "../limits/oom-score.driver.ts";
import { withoutServiceManager } from "../notify/inherited.ts";

/** A pager that has not ended by then is ended. */
const pagerMs = 30_000;
/** Pagers at once; further pages wait for their turn. */
const atOnceMax = 4;
/** Pages that are under way: they run, wait for their turn, or for their next try. What comes then is a file only. */
const pagesMax = 64;
/** A page whose pager failed is tried again after these waits: a line that is down for a moment must not cost the only call for help. */
const waitsMs = [10_000, 60_000] as const;

interface Page {
  readonly path: string;
  readonly over: () => void;
  /** Tries that failed. */
  failed: number;
}

/** Calls people: runs the operator's program with the alert's file. Never throws, holds no process up. */
export class Pager {
  readonly #argv: readonly string[];
  readonly #say: (because: string) => void;
  readonly #waitsMs: readonly number[];
  readonly #turn: Page[] = [];
  #running = 0;
  #pages = 0;

  /** `argv` is run with a path as last argument; empty: nobody is called. `say` hears of each try that failed. */
  constructor(argv: readonly string[], say: (because: string) => void, triesAfterMs: readonly number[] = waitsMs) {
    this.#argv = argv;
    this.#say = say;
    this.#waitsMs = triesAfterMs;
  }

  /** At least once, soon: up to {@link waitsMs} more often while the pager fails. `over` is called when the file is needed no more. */
  page(path: string, over: () => void = () => undefined): void {
    if (this.#argv.length === 0) over();
    else if (this.#pages >= pagesMax) {
      this.#say(`${pagesMax} pages are under way already: this one is the file ${path} only`);
      over();
    } else {
      this.#pages += 1;
      this.#turn.push({ path, over, failed: 0 });
      this.#next();
    }
  }

  #next(): void {
    while (this.#running < atOnceMax) {
      const page = this.#turn.shift();
      if (!page) return;
      this.#running += 1;
      this.#run(page.path, (failure) => {
        this.#running -= 1;
        this.#tried(page, failure);
        this.#next();
      });
    }
  }

  #tried(page: Page, failure: string | undefined): void {
    const waitMs = this.#waitsMs[page.failed];
    if (failure !== undefined) {
      const next = waitMs === undefined ? "it is not tried again" : `it is tried again in ${waitMs / 1000} s`;
      this.#say(`the pager has not taken ${page.path}: ${failure}; ${next}`);
    }
    if (failure === undefined || waitMs === undefined) {
      this.#pages -= 1;
      page.over();
      return;
    }
    page.failed += 1;
    setTimeout(() => {
      this.#turn.push(page);
      this.#next();
    }, waitMs).unref();
  }

  /** `ended` is called once: with why it failed. */
  #run(path: string, ended: (failure?: string) => void): void {
    const [file = "", ...args] = this.#argv;
    // What it prints is nobody's: a pipe would end a pager that prints much, and wait for whoever it leaves behind with it.
    const options = {
      env: withoutServiceManager(process.env),
      stdio: "ignore",
      timeout: pagerMs,
      killSignal: "SIGKILL",
    } as const;
    let isOver = false;
    const once = (failure?: string) => {
      if (!isOver) ended(failure);
      isOver = true;
    };
    try {
      const child = bornOrdinary(() => spawn(file, [...args, path], options));
      child.unref();
      child.on("error", (error) => once(`it could not be started (${codeOf(error)})`));
      child.on("exit", (code, signal) => {
        if (code === 0) once();
        else once(code === null ? `ended by ${signal}` : `exit code ${code}`);
      });
    } catch (thrown) {
      // A program that is just being written (ETXTBSY) is told so, and not by an event.
      once(`it could not be started (${codeOf(thrown)})`);
    }
  }
}
