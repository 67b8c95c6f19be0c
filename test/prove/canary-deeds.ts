/** What is kept, asked wrongly and done to a node while somebody looks for canaries. */
import { writeFileSync } from "node:fs";
import type { Agent } from "@blueflame/agent/client/client.driver.ts";
import type { Operation } from "@blueflame/agent/client/state.ts";
import { type FaultCode, isFault } from "@blueflame/shared/errors/fault.ts";
import { signalIfThere } from "../../deploy/running.ts";
import { of, word } from "./canary-forms.ts";
import { anyCode, type CanaryRig } from "./canary-rig.ts";

/** A workload has sixteen logs: so many have a name of their own, and one is everybody's. */
const logsMax = 15;

/** Gives the agent a canary in everything that a workload may tell it. */
export async function plant(rig: CanaryRig, round: number): Promise<void> {
  const { chance, lookout } = rig;
  const day = word(chance, 20);
  const session = `${String(round).padStart(4, "0")}-${day}`;
  lookout.add(of("session name", session, day));
  const log = round <= logsMax ? rig.name("log name", 128) : "a-log";
  const put = (): Operation => ({ put: { key: rig.name("key name", 128), value: rig.bytes("value") } });
  const line = rig.line();
  try {
    await line.commit(
      [
        { beginSession: session },
        { limits: { sessionTrades: 1 } }, // the trade of this session locks, and the session is named as its cause
        ...Array.from({ length: 8 }, put),
        { append: { log, entries: [rig.bytes("log entry"), rig.bytes("log entry"), rig.bytes("log entry")] } },
        { trade: { id: rig.name("trade id", 64), profit: -1, exposure: 1, data: rig.bytes("trade data", 1000) } },
      ],
      { requestId: rig.name("request id", 64) },
    );
    const key = rig.name("key name", 128);
    await line.put(key, rig.bytes("value"));
    await line.put(key, rig.bytes("value"));
    await line.delete(key);
    await line.commit([{ closeSession: rig.name("session's end", 100) }]);
    await line.lockRisk(rig.name("lock reason", 100));
  } finally {
    line.close();
  }
}

/** Each of these is refused, and what was sent is named nowhere but to whoever sent it. */
export async function refused(rig: CanaryRig): Promise<void> {
  const key = () => rig.name("refused name", 100);
  const own = rig.line();
  const stranger = rig.line(rig.name("wrong token", 100));
  try {
    await fails("STATE_CONFLICT", own, (line) => line.put(key(), rig.bytes("value"), 9n));
    await fails("BAD_REQUEST", own, (line) => line.put(`${key()}?`, rig.bytes("value")));
    await fails("BAD_REQUEST", own, (line) =>
      line.put(key(), Buffer.concat([rig.bytes("value"), Buffer.alloc(300_000)])),
    );
    await fails("DENIED", stranger, (line) => line.put(key(), rig.bytes("value")));
    await fails("DENIED", stranger, (line) => line.beat(key()).then(() => undefined));
  } finally {
    own.close();
    stranger.close();
  }
}
async function fails(code: FaultCode, line: Agent, question: (line: Agent) => Promise<unknown>): Promise<void> {
  const came = await question(line).then(
    () => "it was done",
    (error: unknown) => (isFault(error, code) ? undefined : error),
  );
  if (came !== undefined) throw new Error(`expected ${code}: ${came}`);
}

/** The workload dies, and is healed. */
export async function crash(rig: CanaryRig): Promise<void> {
  const before = rig.lead();
  // Number 0 would be everybody in our own group.
  if (before === 0 || !signalIfThere(before, "SIGKILL")) throw new Error("the workload that was well does not run");
  await rig.until("it was started again", async () => rig.lead() !== 0 && rig.lead() !== before);
  await rig.well("risk");
}

/** The agent dies, and the next one opens its store. */
export async function killed(rig: CanaryRig): Promise<void> {
  await rig.kill();
  await rig.start();
}

/** The key file is changed, for which a snapshot is taken at once; and the workload's data is backed up. */
export async function copied(rig: CanaryRig): Promise<void> {
  const before = rig.newestSnapshot();
  await rig.says("store rotate-key --kek");
  await rig.until(
    "there is a snapshot of now and a backup",
    async () => rig.newestSnapshot() > before && rig.hasBackup(),
  );
}

/** The agent is killed, its store spoilt, and a person's one command brings it back: with a watchdog, and both are ended then. */
export async function emergency(rig: CanaryRig): Promise<void> {
  await rig.end();
  rig.spoil();
  await rig.says("emergency", anyCode);
  await rig.well("risk");
  rig.look();
  await rig.ask();
  await rig.end();
  await rig.start();
}

/** A config file that cannot be used is refused, and the last good one goes on. */
async function notUsed(rig: CanaryRig): Promise<void> {
  await rig.says(`config check ${rig.config}`, 2);
  await rig.kill();
  await rig.says(`up --config ${rig.config}`, 2);
  await rig.start("--last-good");
  for (const words of ["config versions", "doctor", "logs --part phoenix"]) await rig.says(words, anyCode);
}

/** What may come in any order. Each leaves a node on which the workload runs. */
export const deeds: Readonly<Record<string, (rig: CanaryRig) => Promise<void>>> = {
  "the data key is changed": async (rig) => {
    await rig.says("store rotate-key");
  },
  "the store is entrusted": async (rig) => rig.entrust(),
  "the key file is lost": async (rig) => {
    if (rig.escrowPem === "") await rig.entrust();
    await rig.kill();
    await rig.openWithEscrow();
    await rig.start();
  },
  "the config is changed": async (rig) => {
    rig.secrets();
    await rig.kill();
    await rig.start();
    await crash(rig);
  },
  "the config is wrong": async (rig) => {
    rig.secrets("htp");
    await notUsed(rig);
    rig.secrets();
  },
  "the config is torn": async (rig) => {
    const whole = rig.tear();
    await notUsed(rig);
    writeFileSync(rig.config, whole);
  },
  "its data is corrupt": async (rig) => {
    rig.prints("fatal: database disk image is malformed");
    await crash(rig);
    await crash(rig);
    rig.prints("error");
  },
  "a person stops and starts it": async (rig) => {
    await rig.says("stop risk");
    await rig.says("start risk");
    await rig.well("risk");
  },
  "the store is damaged": async (rig) => {
    await rig.kill();
    rig.spoil();
    await rig.says("store verify", anyCode);
    await rig.start();
  },
  "a snapshot takes the store's place": async (rig) => {
    await rig.kill();
    await rig.says(`store restore --snapshot ${rig.newestSnapshot()}`);
    await rig.start();
  },
  "a diagnosis": async (rig) => {
    await rig.says("playbooks run look-closer --workload risk --dry-run");
    await rig.says("playbooks run look-closer --workload risk", anyCode);
  },
};
