import { expect, test } from "vitest";
import { diagnose } from "../diagnosis/diagnose.ts";
import { noFacts, type OutputHint } from "../diagnosis/facts.ts";
import { choose } from "../ladder/choose.ts";
import { hintsIn } from "./hints.ts";

const none = { error: "", corruption: "", configError: "" };

test.each<[string, OutputHint[]]>([
  [
    "Bad file format reading the append only file appendonly.aof.1.incr.aof: make a backup of your AOF file",
    ["corruption"],
  ],
  ["Wrong signature trying to load DB from file", ["corruption"]],
  ["Fatal: database disk image is malformed", ["corruption"]],
  ['LOG:  could not read block 3 in file "base/5/1259": read only 0 of 8192 bytes', ["corruption"]],
  ["Error: Corruption: not an sstable (bad magic number)", ["corruption"]],
  ["ERROR: data file /srv/db/7 is corrupted", ["corruption"]],
  ["wal: crc mismatch in segment 3 of the journal: checksum error", ["corruption"]],
  ["*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***", ["config"]],
  ["Bad directive or wrong number of arguments", ["config"]],
  ['nginx: [emerg] unknown directive "lisen" in /etc/nginx/nginx.conf:3', ["config"]],
  ["Can't open the log file: No such file or directory", ["config"]],
  ["Error: invalid configuration: port must be a number", ["config"]],
  ["usage: engine [-p PORT]", ["config"]],
  ["Error: ENOSPC: no space left on device, write", ["exhaustion"]],
  ["FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", ["exhaustion"]],
  ["bind: Address already in use", ["exhaustion"]],
  ["Error: EMFILE: too many open files", ["exhaustion"]],
  ["Error: connect ECONNREFUSED 127.0.0.1:6379", ["dependency"]],
  ["getaddrinfo EAI_AGAIN db.internal", ["dependency"]],
  ["FATAL:  the database system is starting up", ["dependency"]],
  ["GET /health 200 3ms", []],
  // What a neighbour sent is no corrupt data of ours.
  ["SyntaxError: Unexpected end of JSON input", []],
  ["download failed: checksum mismatch for package.tgz", []],
  ["data file check: not corrupted", []],
  ["memory usage: 40 MB", []],
  ["client closed the connection: broken pipe", []],
  ["checked 1200 rows, 0 corrupt", []],
  ["started with config /etc/engine.conf", []],
  // It was looked for, and not found.
  ["No data corruption detected", []],
  ["data integrity check passed: no records corrupted", []],
  ["database check ok, no index corruption found", []],
  ["amcheck: no corruption detected across every public-schema btree index", []],
  ["OK: no btree index corruption detected", []],
  ["wal: checking segment 3 for corruption: ok", []],
  ["store opened: recovered without data corruption", []],
  ['{"msg":"store opened","corrupt":false}', []],
  // The names of options: etcd tells these at each start.
  ['"data-dir":"default.etcd","initial-corrupt-check":false,"corrupt-check-time-interval":"0s"', []],
  ["aof-load-corrupt-tail-max-size 0, data in /var/lib/redis", []],
  // And then it was found all the same.
  ["wal: checked segment 3 for corruption: page 7 is corrupt", ["corruption"]],
  ["no corrupt index, but table 3 of the data is corrupted", ["corruption"]],
  ["integrity check found corruption in table orders", ["corruption"]],
  ["could not read corrupted page 3 of file base/5", ["corruption"]],
  ["Corruption: no meta-nextfile entry in descriptor", ["corruption"]],
  // What any system call may answer is no complaint of a config.
  ["Error: EINVAL: invalid argument, write", []],
  ["recv: Invalid argument", []],
  ["lua: bad argument #1 to 'insert' (table expected, got nil)", []],
  ['invalid argument "x" for "-p, --port" flag', ["config"]],
  ["engine: unrecognized arguments: --prot", ["config"]],
])("%s", (line, hints) => expect(hintsIn(["first", line, "last"], none)).toEqual(hints));

test("a workload's own words take the place of the known ones of their kind, and no other", () => {
  const own = { error: "", corruption: "ledger does not balance", configError: "" };
  expect(hintsIn(["Ledger DOES NOT balance"], own)).toEqual(["corruption"]);
  expect(hintsIn(["database disk image is malformed", "ECONNREFUSED"], own)).toEqual(["dependency"]);
});

test("a long line is looked at where it begins, and costs little", () => {
  expect(hintsIn([`${"x".repeat(1_000_000)} ENOSPC`], none)).toEqual([]);
  expect(hintsIn([`ENOSPC ${"x".repeat(1_000_000)}`], none)).toEqual(["exhaustion"]);
});

test("a store that said at its start that its data is well is started anew at its first crash, and no older backup replaces its data", () => {
  const hints = hintsIn(["store opened, no data corruption detected", "listening on 8080"], none);
  const facts = { ...noFacts, hints, backup: { id: "b", ageMs: 3_600_000 } };
  const diagnosis = diagnose({ symptom: "exit", failures: 1, wasReady: true, tried: [] }, facts, 3_600_000);
  const told = { quickLeft: true, relapse: false, relapsed: [], timeGiven: false, hasSafeMode: false };
  expect(choose({ diagnosis, facts, tried: [], inSafeMode: false, ...told }).rung).toBe("quick_restart");
});
