/**
 * The Praetorian Guard on real processes, by the figures of `examples/praetorian.yaml`: what is owed and what was kept, what is not as
 * usual, what repeated failures teach, and five minutes of closer monitoring after a recovery.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { type Incident, IncidentState, Rung } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { Breaker } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { signalIfThere } from "../../deploy/running.ts";
import { askedOf, at, example, feel, figuresOf, type Patient, SystemRig, Ward } from "./systems-rig.ts";
import { Score } from "./systems-score.ts";
import type { Trial } from "./trial.ts";

const minute = 60_000;
/** So many failures of one pattern teach; the next one is healed by what was learned. */
const lessons = 3;
/** Quick restarts are counted within this time: the lessons come one after the other. */
const startsWithinMs = 5000;
const startsWithinQuickMs = 2000;
/** A forest is trained with 64 looks. */
const looks = 64;
/** PRA-4. */
const probationMs = 5 * minute;
const probeEveryMs = 10_000;
/** What an answer takes on a busy machine. */
const answersMs = 5000;
/** PRA-8 has no figure: three looks in a row, a hold, and what a look takes. */
const unusualMs = minute;
/** SYN-3: the next rung's budget. */
const safeModeMs = 2 * minute;

function trial(node: (ward: Ward, score: Score) => Promise<void>): Trial {
  return {
    name: "pra",
    about: "Praetorian Guard: score, objectives and error budget, what was learned, anomalies, probation",
    async run({ rounds, say }) {
      const score = new Score(say);
      for (let round = 0; round < rounds; round++) {
        const ward = new Ward();
        try {
          await node(ward, score);
        } finally {
          ward.remove();
        }
      }
      return score.rows();
    },
  };
}

export const pra = trial(node);
/**
 * What repeated failures teach, and the first ten seconds of the closer monitoring: in a quarter of a minute nothing can be unusual, and
 * no objective shows a downtime.
 */
export const praQuick = trial(quickNode);

/** Two that are no more than a shell each: what is looked at is the agent's. */
async function quickNode(ward: Ward, score: Score): Promise<void> {
  const pace = {
    beat: undefined,
    backoff: { base: "50ms", reset_after: "100ms" },
    probation: "100ms",
    safe_mode: { env: {} },
  };
  const sh = (script: string) => ["/bin/sh", "-c", script];
  const pupil = await ward.admit("pupil", {
    ...pace,
    command: sh(
      '[ -n "$BLUEFLAME_SAFE_MODE" ] && exec sleep 1000; echo it does not find its way in the full mode >&2; exit 1',
    ),
    starts: { max: 2, within: `${startsWithinQuickMs}ms` },
  });
  const sentinel = await ward.admit("sentinel", {
    ...pace,
    command: sh("exec sleep 1000"),
    probes: [{ name: "alive", every: "1h", timeout: "5s", exec: { command: sh("echo >> asked") } }],
    probation: "5m",
  });
  const rig = new SystemRig({ sensors: { every: "1s" }, workloads: ward.patients.map(({ config }) => config) });
  const askedYet = () => readFileSync(sentinel.file("asked"), "utf8").length;
  const closer = async () => {
    await rig.calm(sentinel.name);
    const sinceMs = Date.now();
    signalIfThere(rig.seen(sentinel.name)?.pid ?? 0, "SIGKILL");
    await rig.recovered(sentinel.name, sinceMs);
    const before = askedYet();
    const beganMs = performance.now();
    await rig.until("it is asked once more", async () => askedYet() > before);
    score.took("PRA-4 probation", "asked again", probeEveryMs + answersMs, performance.now() - beganMs);
    score.holds(
      "PRA-4 probation",
      "work may come, and is watched",
      rig.seen(sentinel.name)?.breaker === Breaker.HALF_OPEN,
    );
  };
  try {
    await rig.start();
    await Promise.all([
      score.run("PRA-14 lessons", () => taught(rig, pupil, startsWithinQuickMs, score)),
      score.run("PRA-4 probation", closer),
    ]);
  } finally {
    await rig.close();
  }
}

async function node(ward: Ward, score: Score): Promise<void> {
  const guard = example("praetorian");
  const figures = { ...figuresOf(guard, "oracle"), depends_on: undefined, probation: "1s" };
  const page = ({ port }: Pick<Patient, "port">) => ({
    performance: { url: `http://127.0.0.1:${port}/performance`, every: "1s" },
  });
  const admit = async (name: string, more: Record<string, unknown> = {}, env: Record<string, string> = {}) => {
    const beat = { timeout: "90s", file: `${ward.dir}/${name}/beat` };
    const patient = await ward.admit(name, { ...figures, beat, ...more }, env);
    Object.assign(patient.config, page(patient));
    return patient;
  };
  const oracle = await admit("oracle", {}, { SICK_STARTS: `${ward.dir}/oracle/starts` });
  const pupil = await admit(
    "pupil",
    { safe_mode: { env: {} }, starts: { max: 2, within: `${startsWithinMs / 1000}s` } },
    { SICK_ONLY_SAFE: "1" },
  );
  const odd = await admit("odd");
  const sentinel = await admit("sentinel", { safe_mode: { env: {} }, probation: "5m" });
  Object.assign(sentinel.config, {
    // Asked every half minute; on probation every ten seconds.
    probes: [{ name: "alive", every: "30s", timeout: "2s", http: { url: `http://127.0.0.1:${sentinel.port}/live` } }],
  });
  const rig = new SystemRig({
    sensors: { every: "1s" },
    slo: guard.slo,
    workloads: ward.patients.map(({ config }) => config),
  });
  try {
    await rig.start();
    await Promise.all([
      score.run("PRA-14 lessons", () => taught(rig, pupil, startsWithinMs, score)),
      score.run("PRA-7 objectives", () => owed(rig, oracle, score)),
      score.run("PRA-8 anomaly", () => unusual(rig, odd, score)),
      score.run("PRA-4 probation", () => onProbation(rig, sentinel, score)),
    ]);
  } finally {
    await rig.close();
  }
}

/** PRA-6, PRA-7: what real downtime costs. */
async function owed(rig: SystemRig, oracle: Patient, score: Score): Promise<void> {
  await rig.calm(oracle.name);
  // Its start was a second down; what came after it shows within some looks.
  const before = await reportOf(rig, oracle.name, (one) => one.healthScore > 90);
  score.holds("PRA-6 score", "it is high while all is well", before.healthScore > 90, before.healthScore);
  const availability = (of: typeof before) => of.objectives.find(({ name }) => name === "availability");
  writeFileSync(oracle.file("starts"), "1\n1\n");
  const sinceMs = await feel(oracle, "crash");
  const incident = await rig.recovered(oracle.name, sinceMs);
  const downMs = at(incident.recoveredAt) - at(incident.detectedAt);
  const after = await reportOf(rig, oracle.name, (one) => (availability(one)?.budgetLeft ?? 1) < 1);
  score.holds("PRA-6 score", "downtime lowers it", after.healthScore < before.healthScore, [
    before.healthScore,
    after.healthScore,
  ]);
  const up = availability(after);
  score.holds(
    "PRA-7 objectives",
    "all five are told",
    after.objectives.length === 5,
    after.objectives.map(({ name }) => name),
  );
  score.holds("PRA-7 objectives", "the target is 99.9 %", up?.target === "99.9%", up?.target);
  // Kept all the same: it is a budget over thirty days.
  const less = up?.kept === true && Number.parseFloat(up.actual) < 100 && up.budgetLeft < 1;
  score.holds("PRA-7 objectives", "the downtime shows, and its budget bears it", less, up);
  // A downtime is seen by looks, one in a second: it is known to a few of them.
  const spentMs = (1 - (up?.budgetLeft ?? 1)) * 30 * 86_400_000 * 0.001;
  score.took("PRA-7 budget", "spent beyond the real downtime", 5000, Math.abs(spentMs - downMs));
  const fast = after.objectives.filter(({ name }) => name.startsWith("p9"));
  score.holds("PRA-7 objectives", "latency is kept", fast.length === 2 && fast.every(({ kept }) => kept), fast);
}

async function reportOf(rig: SystemRig, name: string, holds: (one: Awaited<ReturnType<typeof found>>) => boolean) {
  let last = await found(rig, name);
  await rig.until(`the report on ${name} is there`, async () => {
    last = await found(rig, name);
    return holds(last);
  });
  return last;
}

async function found(rig: SystemRig, name: string) {
  const one = (await rig.health()).workloads.find((workload) => workload.name === name);
  if (!one) throw new Error(`no report on ${name}`);
  return one;
}

/** PRA-14, SYN-12: what healed it three times goes first at the fourth, and a person is told what might prevent it. */
async function taught(rig: SystemRig, pupil: Patient, withinMs: number, score: Score): Promise<void> {
  const row = "PRA-14 lessons";
  let incident = await lesson(rig, pupil, 0);
  const first = tries(incident);
  for (let time = 1; time < lessons; time++) incident = await again(rig, pupil, withinMs);
  const last = tries(await again(rig, pupil, withinMs));
  // On a busy machine two starts may take longer than the short form counts them for.
  if (withinMs === startsWithinMs)
    score.count(row, "restarts in vain before anything was learned", 2, first.length - 1);
  score.holds(row, "more than one restart was in vain before anything was learned", first.length > 2, first);
  score.holds(row, "safe mode healed it", first.at(-1) === Rung.SAFE_MODE, first);
  score.holds(
    row,
    "the learned order spares it the second restart",
    last.join() === [Rung.QUICK_RESTART, Rung.SAFE_MODE].join(),
    last,
  );
  const learned = rig
    .incidentsOf(pupil.name)[0]
    ?.timeline.some(({ because }) => because.includes("learned: safe_mode goes first"));
  score.holds(
    "SYN-12 learning",
    "the order is explained by what was learned",
    learned === true,
    rig.incidentsOf(pupil.name)[0]?.timeline,
  );
  const suggestions = (await rig.health()).suggestions.filter((text) => text.startsWith(pupil.name));
  score.holds("SYN-12 learning", "a preventive measure is suggested", suggestions.length > 0, suggestions);
}

async function again(rig: SystemRig, pupil: Patient, withinMs: number): Promise<Incident> {
  await pause(withinMs);
  const sinceMs = Date.now();
  await rig.restart(pupil.name); // with its whole config, which it does not bear
  return lesson(rig, pupil, sinceMs);
}

async function lesson(rig: SystemRig, pupil: Patient, sinceMs: number): Promise<Incident> {
  const incident = await rig.recovered(pupil.name, sinceMs);
  await rig.closed(incident.id);
  return incident;
}

function tries({ attempts }: Incident): Rung[] {
  return attempts.map(({ rung }) => rung);
}

/** PRA-8: figures below every threshold, and unlike all that was seen of it. */
async function unusual(rig: SystemRig, odd: Patient, score: Score): Promise<void> {
  const row = "PRA-8 anomaly";
  const fired = async () => (await rig.triggers()).find(({ name }) => name === "anomaly")?.fired ?? 0n;
  await rig.calm(odd.name);
  await pause(10_000);
  score.holds(row, "untrained, nothing is one", (await fired()) === 0n);
  await pause((looks + 10) * 1000);
  score.holds(row, "as usual, nothing is one", (await fired()) === 0n);
  await feel(odd, "flawed?rate=0.2");
  const sinceMs = await feel(odd, "slow?ms=150");
  await rig.until("it is noticed", async () => (await fired()) > 0n, 2 * unusualMs);
  score.took(row, "noticed after the shift", unusualMs, Date.now() - sinceMs);
  const { summary } = await rig.opened(odd.name, sinceMs);
  score.holds(
    row,
    "it says which feature, and how far out",
    /latency|error/.test(summary) && /out by/.test(summary),
    summary,
  );
}

/** PRA-4: every ten seconds for five minutes; bad goes to another strategy, good closes the breaker and is told. */
async function onProbation(rig: SystemRig, sentinel: Patient, score: Score): Promise<void> {
  const row = "PRA-4 probation";
  await rig.calm(sentinel.name, 2 * minute);
  const first = await rig.recovered(sentinel.name, await feel(sentinel, "crash"));
  const asked = await askedOf(sentinel);
  await pause(minute + probeEveryMs / 2);
  const perMinute = (await askedOf(sentinel)) - asked;
  score.count(row, "questions of a minute that were left out", 0, Math.max(0, 6 - perMinute));
  score.holds(row, "work may come, and is watched", rig.seen(sentinel.name)?.breaker === Breaker.HALF_OPEN);
  const relapsedMs = await feel(sentinel, "crash");
  const relapse = await rig.wait("the relapse is healed", () =>
    rig.incidentsOf(sentinel.name).find((one) => one.id === first.id && at(one.recoveredAt) > relapsedMs),
  );
  score.took(row, "a relapse is healed by the next rung", safeModeMs, at(relapse.recoveredAt) - relapsedMs);
  score.holds(
    row,
    "by another strategy",
    tries(relapse).join() === [Rung.QUICK_RESTART, Rung.SAFE_MODE].join(),
    tries(relapse),
  );
  const closed = await rig.closed(first.id, probationMs + 2 * minute);
  const lastedMs = at(closed.closedAt) - at(closed.recoveredAt);
  score.took(row, "closed after its five minutes", probationMs + probeEveryMs, lastedMs);
  score.holds(row, "and not before them", lastedMs >= probationMs - 1000, lastedMs);
  score.holds(row, "the breaker is closed", rig.seen(sentinel.name)?.breaker === Breaker.CLOSED);
  const told = rig.alerts().some(({ kind, incidentId }) => kind === "closed" && incidentId === first.id);
  score.holds(row, "its success is told", told && closed.state === IncidentState.CLOSED);
}
