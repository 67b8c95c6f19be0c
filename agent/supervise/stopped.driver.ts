/**
 * Which of our children were stopped by a signal? waitid(2) answers for all of them in one system call, where a look at each in the
 * process table costs as much as everything else that is done in a second. It takes nothing away: who waits for an exit still gets it.
 */
import { type Koffi, koffi, type Native } from "../libc.driver.ts";

/** From wait.h of Linux: every child; those that a signal has stopped; at once; and leave the answer there. */
const everyChild = 0;
const stoppedNow = 0x02 | 0x01 | 0x0100_0000;
/** The size of siginfo_t on every 64-bit Linux; it begins with the signal's number, 0 where there was nothing to tell. */
const answerBytes = 128;

/**
 * False only when it is certain that no child of this process is stopped by a signal; true also where nobody can say (no addon).
 * What an earlier agent has started is not our child.
 */
export function mayHaveStoppedChild(): boolean {
  question ??= makeQuestion(koffi());
  return question();
}

let question: (() => boolean) | undefined;

function makeQuestion(addon: Koffi | undefined): () => boolean {
  try {
    const wait: Native | undefined = addon?.load(null).func("int waitid(int type, int id, void *info, int options)");
    if (!addon || !wait) return () => true;
    const answer = Buffer.alloc(answerBytes);
    return () => {
      answer.writeInt32LE(0, 0);
      if (wait(everyChild, 0, answer, stoppedNow) === 0) return answer.readInt32LE(0) !== 0;
      return addon.errno() !== noChild;
    };
  } catch {
    return () => true; // a libc without the function
  }
}
const noChild = 10;
