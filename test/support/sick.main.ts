/**
 * A workload that can be told to be sick. It serves on a port of this machine, beats by touching a file, keeps a file of data
 * with a checksum, and does as its config and its moods say:
 *
 *   GET  /live /ready /performance    what probes ask; /asked says how often somebody has asked /live
 *   GET  /work                        one request of a customer
 *   POST /mood/NAME?key=value         be sick from now on: see `moods`
 *   POST /optimize/WHAT               clear-caches, tune-queries, tune-pool: each makes it 200 ms faster, down to 450
 *
 * Settings come from the environment, and each is optional: SICK_PORT, SICK_BEAT (a file, or `api`), SICK_CONFIG (a JSON file that it cannot
 * do without), SICK_DATA (file), SICK_NEEDS (port of a redis), SICK_STARTS (a file with one exit code per line: each start takes
 * the first one and ends with it), SICK_ONLY_SAFE (it starts in safe mode only), SICK_REPORT (tells its agent of each request),
 * SICK_LAMENT (what it says when its config is broken). Called with `verify FOLDER` it checks a copy of its data.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { Worker } from "node:worker_threads";

const calmLatencyMs = 5;
/** What one optimization gains, and where no more is to be had. */
const gainMs = 200;
const leastMs = 450;
const timeoutMs = 500;
const redisMs = 400;

const env = process.env;
const port = Number(env.SICK_PORT ?? 0);

let latencyMs = calmLatencyMs;
let beats = true;
let answers = true;
let fails = false;
let errorRate = 0;
let requests = 0;
let asked = 0;
const hoard: Buffer[] = [];

function leave(code: number, because: string): never {
  console.error(because);
  process.exit(code);
}

// ── what it needs to start ───────────────────────────────────────────────────────────────────────────────────────────

function takeStart(): void {
  const file = env.SICK_STARTS;
  if (!file || !existsSync(file)) return;
  const [first = "", ...rest] = readFileSync(file, "utf8").split("\n").filter(Boolean);
  writeFileSync(file, rest.map((line) => `${line}\n`).join(""));
  if (first === "78") leave(78, "configuration error: invalid option today");
  if (first !== "" && first !== "0") leave(Number(first), "it does not start today");
}

function readConfig(): void {
  if (!env.SICK_CONFIG) return;
  try {
    const config = JSON.parse(readFileSync(env.SICK_CONFIG, "utf8")) as { latencyMs?: number; mood?: string };
    latencyMs = config.latencyMs ?? latencyMs;
    if (config.mood) setTimeout(() => moodOf(new URL(`http://here/mood/${config.mood}`))?.(), 50);
  } catch (error) {
    if (env.SICK_LAMENT) console.error(env.SICK_LAMENT);
    leave(78, `configuration error: failed to parse ${env.SICK_CONFIG}: ${(error as Error).message}`);
  }
}

const sumOf = (count: string) => createHash("sha256").update(count).digest("hex");

/** The data is one number with its checksum; it grows ten times a second. */
function openData(): void {
  const file = env.SICK_DATA;
  if (!file) return;
  if (!existsSync(file)) keep(file, 0);
  let next = countIn(file);
  setInterval(() => keep(file, ++next), 100);
}

function countIn(file: string): number {
  const [count = "", sum] = readFileSync(file, "utf8").trim().split(" ");
  if (sumOf(count) !== sum) leave(65, "the database file is corrupt: checksum mismatch in block 1");
  return Number(count);
}

/** `verify FOLDER`: is a copy of the data, which lies in it, sound? */
function verifyCopy(folder: string): never {
  for (const name of readdirSync(folder)) countIn(join(folder, name));
  process.exit(0);
}

function keep(file: string, count: number): void {
  writeFileSync(`${file}.new`, `${count} ${sumOf(String(count))}\n`);
  renameSync(`${file}.new`, file);
}

/** Dies when redis does not answer: it was not written with care. */
function needRedis(): Promise<void> {
  if (!env.SICK_NEEDS) return Promise.resolve();
  const redis = connect(Number(env.SICK_NEEDS), "127.0.0.1");
  redis.on("error", (error) => leave(69, `redis: connection refused: ${error.message}`));
  const { promise, resolve } = Promise.withResolvers<void>();
  let late: NodeJS.Timeout | undefined;
  const ask = () => {
    late = setTimeout(() => leave(69, "redis: connection timed out (ETIMEDOUT)"), redisMs);
    redis.write("PING\r\n");
  };
  redis.on("data", (answer) => {
    clearTimeout(late);
    if (!String(answer).startsWith("+PONG")) leave(69, `redis: service unavailable: ${String(answer).slice(0, 60)}`);
    resolve();
    setTimeout(ask, 200);
  });
  redis.on("end", () => leave(69, "redis: connection refused: it has closed the line"));
  ask();
  return promise;
}

// ── moods ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Ways to be sick, with what may be said of each. */
const moods: Readonly<Record<string, (say: URLSearchParams) => void>> = {
  /** code */
  crash: (say) => leave(Number(say.get("code") ?? 1), "panic: it has crashed"),
  /** No beat any more; all else goes on. */
  silent() {
    beats = false;
  },
  /** Its only thread stands still. */
  hang: () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0),
  /** ms */
  slow(say) {
    latencyMs = Number(say.get("ms") ?? 1050);
  },
  /** No request is answered any more. */
  stuck() {
    answers = false;
  },
  /** lines, at once: and every request fails. */
  failing(say) {
    fails = true;
    errorRate = 0.5;
    for (let line = 0; line < Number(say.get("lines") ?? 0); line++) console.error(`ERROR request ${line} failed`);
  },
  /** rate: of the requests that fail by its own account. */
  flawed(say) {
    errorRate = Number(say.get("rate") ?? 0.2);
  },
  /** mb in a second, up to max. */
  leak(say) {
    const [mb, max] = [Number(say.get("mb") ?? 40), Number(say.get("max") ?? 300)];
    setInterval(() => void (hoard.length * mb < 10 * max && hoard.push(Buffer.alloc((mb * 2 ** 20) / 10, 1))), 100);
  },
  /** threads spin. */
  burn(say) {
    for (let n = 0; n < Number(say.get("threads") ?? 2); n++) new Worker("for (;;);", { eval: true });
  },
  /** A helper burns a core without a word, and so does nothing else here. */
  helper() {
    beats = false;
    spawn(process.execPath, ["-e", "for (;;);", "helper"], { stdio: "ignore" });
  },
  /** A helper leaves the family and lives on when this one is gone. */
  orphan: () => void spawn("/bin/sleep", ["1000"], { stdio: "ignore", detached: true }).unref(),
  /** n children at once, again and again. */
  forks(say) {
    const many = () => {
      for (let n = 0; n < Number(say.get("n") ?? 20); n++)
        spawn("/bin/sleep", ["1000"], { stdio: "ignore" }).on("error", () => undefined);
    };
    many();
    setInterval(many, 200);
  },
  /** Its data is overwritten, and it dies of it. */
  corrupt() {
    if (env.SICK_DATA) writeFileSync(env.SICK_DATA, "4711 0000\n");
    leave(65, "the database file is corrupt: checksum mismatch in block 1");
  },
  /** It lives and beats, and takes no calls any more. */
  shut() {
    server.close();
    server.closeAllConnections();
  },
};

/** What makes it sick in this way; undefined when there is no such mood. */
function moodOf(url: URL): (() => void) | undefined {
  const mood = moods[url.pathname.split("/")[2] ?? ""];
  return (
    mood &&
    (() => {
      console.log(`from now on: ${url.pathname}${url.search}`);
      mood(url.searchParams);
    })
  );
}

// ── what it serves ───────────────────────────────────────────────────────────────────────────────────────────────────

function performanceNow() {
  const noise = Math.random() * 2;
  return {
    avg_latency_ms: latencyMs * 0.8 + noise,
    p95_latency_ms: latencyMs + noise,
    p99_latency_ms: latencyMs * 1.1 + noise,
    error_rate: errorRate,
    requests_per_second: 20 + noise,
    cpu_usage: 0.05 + Math.random() * 0.01,
    memory_usage_mb: 60 + noise,
  };
}

function serve(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? "/", "http://here");
  const answer = (code: number, body: unknown, sent?: () => void) =>
    response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(body), sent);
  if (url.pathname.startsWith("/mood/")) {
    const mood = moodOf(url);
    // With the answer on its way, and before the next request is read: who has the answer finds it sick.
    return void answer(mood ? 200 : 404, {}, mood);
  }
  if (url.pathname.startsWith("/optimize/")) {
    latencyMs = Math.min(latencyMs, Math.max(leastMs, latencyMs - gainMs));
    return void answer(200, { p95_latency_ms: latencyMs });
  }
  if (url.pathname === "/performance") return void answer(200, performanceNow());
  if (url.pathname === "/live") asked += 1;
  if (url.pathname !== "/work") return void answer(200, { requests, asked });
  requests += 1;
  if (answers) setTimeout(() => answer(fails ? 500 : 200, {}), latencyMs);
}

const server = createServer(serve);

async function begin(): Promise<void> {
  takeStart();
  if (env.SICK_ONLY_SAFE && !env.BLUEFLAME_SAFE_MODE) leave(1, "it does not find its way in the full mode");
  readConfig();
  openData();
  await needRedis();
  if (env.SICK_REPORT) {
    const { connect: connectAgent } = await import("@blueflame/agent/client/client.driver.ts");
    const { watchRequests } = await import("@blueflame/agent/client/requests.driver.ts");
    watchRequests(connectAgent(), { timeoutMs }).watch(server);
  }
  if (port > 0) server.listen(port, "127.0.0.1");
  const beatFile = env.SICK_BEAT;
  if (beatFile === "api") {
    const { connect: connectAgent } = await import("@blueflame/agent/client/client.driver.ts");
    connectAgent().startBeating(500);
  } else if (beatFile) {
    writeFileSync(beatFile, "");
    setInterval(() => beats && utimesSync(beatFile, new Date(), new Date()), 200);
  }
  setInterval(() => undefined, 1000);
  console.log("ready");
}

process.on("SIGTERM", () => process.exit(0));
if (process.argv[2] === "verify") verifyCopy(process.argv[3] ?? "");
await begin();
