/** What can be broken on a node, and how. */
import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import {
  chmodSync,
  chownSync,
  cpSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { canMount } from "../contract/small-disk.ts";
import { type DamageRig, giveAll, type User } from "./damage-rig.ts";

/** One fault. */
export interface Case {
  readonly group: string;
  readonly fault: string;
  /** Breaks it; everything was killed before. */
  readonly break: (rig: DamageRig) => void | Promise<void>;
  /** The installed program may not start: the command of the good copy is the operator's. */
  readonly good?: true;
  /** The error code that a person is told, whose commands then bring the node back. Without it the emergency does so itself. */
  readonly told?: string;
  /** What a comment among the commands asks of the person; done before the last command. */
  readonly byHand?: (rig: DamageRig, commands: readonly string[]) => void | Promise<void>;
  /** The workloads run again before the person comes. */
  readonly guarded?: true;
  /** The operator is the node's own user. */
  readonly byOwner?: true;
  /** What the machine itself has to be freed of afterwards. */
  readonly undo?: (rig: DamageRig) => void;
}

const inData = (rig: DamageRig, name: string) => join(rig.dataDir, name);
const remove = (path: string) => rmSync(path, { recursive: true });
function fileInPlace(path: string): void {
  rmSync(path, { recursive: true, force: true });
  writeFileSync(path, "");
}
const cut = (path: string) => truncateSync(path, Math.floor(statSync(path).size / 2));
function flip(path: string): void {
  const bytes = readFileSync(path);
  const at = Math.floor(bytes.length / 2);
  bytes[at] = (bytes[at] ?? 0) ^ 4;
  writeFileSync(path, bytes);
}
/** Any file of LevelDB that holds something. */
function storeFiles(rig: DamageRig): string[] {
  return readdirSync(inData(rig, "store"))
    .filter((name) => !/^(LOCK|LOG(\.old)?)$/.test(name))
    .sort();
}
const kindOf = (name: string) => name.replace(/\d+/, "N");

/** Every file of the store, missing, cut and with a flipped bit. `rig` tells which there are. */
function eachStoreFile(rig: DamageRig): Case[] {
  return storeFiles(rig).flatMap((name, at, all) => {
    const nth = all.slice(0, at).filter((one) => kindOf(one) === kindOf(name)).length + 1;
    const said =
      all.filter((one) => kindOf(one) === kindOf(name)).length > 1 ? `${kindOf(name)} (${nth})` : kindOf(name);
    const at_ = (one: DamageRig) => join(inData(one, "store"), name);
    return [
      { group: "store", fault: `${said} missing`, break: (one) => remove(at_(one)) },
      { group: "store", fault: `${said} cut`, break: (one) => cut(at_(one)) },
      { group: "store", fault: `${said} flipped`, break: (one) => flip(at_(one)) },
    ] satisfies Case[];
  });
}

const holdStore = (rig: DamageRig) =>
  rig.hold(
    `import { Level } from "level"; const db = new Level(${JSON.stringify(inData(rig, "store"))}); await db.open()`,
  );
async function lockBy(rig: DamageRig): Promise<void> {
  const pid = await rig.hold("");
  const started = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[19];
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  writeFileSync(inData(rig, "store.lock"), JSON.stringify({ pid, started, boot }));
}

const wholeStore: Case[] = [
  { group: "store", fault: "whole folder missing", break: (rig) => remove(inData(rig, "store")) },
  { group: "store", fault: "lock and LOCK left over", break: () => undefined },
  { group: "store", fault: "lock is garbage", break: (rig) => writeFileSync(inData(rig, "store.lock"), "{") },
  { group: "store", fault: "lock held by a stranger", break: lockBy, told: "STORE_LOCKED" },
  {
    group: "store",
    fault: "LOCK held by a stranger",
    break: async (rig) => void (await holdStore(rig)),
    told: "STORE_LOCKED",
  },
  {
    group: "store",
    fault: "a table flipped, and the snapshots too",
    break: (rig) => {
      flip(join(inData(rig, "store"), storeFiles(rig).find((name) => name.endsWith(".ldb")) ?? ""));
      for (const name of readdirSync(inData(rig, "snapshots"))) flip(join(inData(rig, "snapshots"), name, "entries"));
    },
  },
  {
    group: "store",
    fault: "store and snapshots missing",
    break: (rig) => {
      remove(inData(rig, "store"));
      remove(inData(rig, "snapshots"));
    },
    told: "STORE_MISSING",
  },
  {
    group: "store",
    fault: "damaged for the fourth time",
    break: (rig) => {
      for (const n of [1, 2, 3]) cpSync(inData(rig, "store"), inData(rig, `store.damaged-${n}`), { recursive: true });
      remove(join(inData(rig, "store"), "CURRENT"));
    },
    told: "STORE_DAMAGED",
  },
];

const programs: Case[] = [
  { group: "binary", fault: "missing", good: true, break: (rig) => remove(join(rig.opt, "blueflame-agent.cjs")) },
  { group: "binary", fault: "cut", good: true, break: (rig) => cut(join(rig.opt, "blueflame-agent.cjs")) },
  {
    group: "binary",
    fault: "wrong",
    good: true,
    break: (rig) => writeFileSync(join(rig.opt, "blueflame-agent.cjs"), "console.log('0.0.1')"),
  },
  { group: "binary", fault: "addon missing", break: (rig) => remove(join(rig.opt, "native", addon(rig))) },
  { group: "binary", fault: "addon cut", break: (rig) => cut(join(rig.opt, "native", addon(rig))) },
  { group: "binary", fault: "watchdog missing", break: (rig) => remove(join(rig.opt, "blueflame-watchdog.cjs")) },
  { group: "binary", fault: "whole folder missing", good: true, break: (rig) => remove(rig.opt) },
  { group: "binary", fault: "good copy missing", break: (rig) => remove(inData(rig, "good")) },
  { group: "binary", fault: "good copy cut", break: (rig) => cut(join(inData(rig, "good"), "blueflame-agent.cjs")) },
];
function addon(rig: DamageRig): string {
  return readdirSync(join(rig.opt, "native")).find((name) => name.startsWith("classic-level")) ?? "";
}

const configs: Case[] = [
  { group: "config", fault: "missing", break: (rig) => remove(rig.config) },
  { group: "config", fault: "cut", break: (rig) => cut(rig.config) },
  {
    group: "config",
    fault: "invalid",
    break: (rig) => writeFileSync(rig.config, "workloads: [{ name: one, comand: [x] }]\n"),
  },
  { group: "config", fault: "empty", break: (rig) => writeFileSync(rig.config, "") },
  {
    group: "config",
    fault: "missing, and no good copy",
    break: (rig) => [rig.config, inData(rig, "good")].forEach(remove),
  },
  { group: "config", fault: "last good config cut", break: (rig) => cut(inData(rig, "last-good-config.json")) },
  { group: "config", fault: "how it was started is lost", break: (rig) => remove(inData(rig, "start.json")) },
  { group: "config", fault: "what rests is lost", break: (rig) => remove(inData(rig, "stopped.json")) },
];

const places: Case[] = [
  { group: "directories", fault: "logs missing", break: (rig) => remove(inData(rig, "logs")) },
  {
    group: "directories",
    fault: "logs is a file",
    break: (rig) => fileInPlace(inData(rig, "logs")),
  },
  { group: "directories", fault: "data directory closed to its owner", break: (rig) => chmodSync(rig.dataDir, 0o500) },
  { group: "directories", fault: "data directory open to all", break: (rig) => chmodSync(rig.dataDir, 0o777) },
  {
    group: "directories",
    fault: "data directory missing",
    break: (rig) => renameSync(rig.dataDir, join(rig.dir, "BACKUP")),
    told: "DATA_DIR_UNUSABLE",
    byHand: (rig) => cpSync(join(rig.dir, "BACKUP"), rig.dataDir, { recursive: true, preserveTimestamps: true }),
  },
  { group: "socket and lock", fault: "socket left over", break: () => undefined },
  {
    group: "socket and lock",
    fault: "a file in the socket's place",
    break: (rig) => fileInPlace(inData(rig, "agent.sock")),
  },
  {
    group: "socket and lock",
    fault: "emergency's lock left over",
    break: (rig) => writeFileSync(inData(rig, "emergency.lock"), '{"pid":1,"started":"0","boot":""}'),
  },
];

const keys: Case[] = [
  { group: "key", fault: "guard key open to all", break: (rig) => chmodSync(inData(rig, "guard.key"), 0o644) },
  { group: "key", fault: "guard key empty", break: (rig) => writeFileSync(inData(rig, "guard.key"), "") },
  { group: "key", fault: "guard key missing", break: (rig) => remove(inData(rig, "guard.key")) },
  { group: "key", fault: "hub key open to all", break: (rig) => chmodSync(rig.hubKey, 0o644) },
  {
    group: "key",
    fault: "hub key missing",
    break: (rig) => remove(rig.hubKey),
    told: "CERT_UNUSABLE",
    byHand: (rig) => writeFileSync(rig.hubKey, "a key\n", { mode: 0o600 }),
  },
];

const storeKey = (rig: DamageRig) => inData(rig, "store.key");
/** The copy that a person has put by. */
const keptKey = (rig: DamageRig) => join(`${rig.dir}.golden`, "d", "store.key");
/** Types what stands in a comment, with what only the person knows in the place of its word in capitals. */
async function fillIn(rig: DamageRig, commands: readonly string[], word: string, known: string): Promise<void> {
  const line = commands.find((one) => one.startsWith("# ") && one.includes(word));
  if (line === undefined) throw new Error(`no comment has the word ${word}`);
  const said = await rig.run(["/bin/sh", "-c", line.slice("# ".length).replace(word, known)]);
  if (said.code !== 0) throw new Error(`'${line}' came to nothing: ${said.err}`);
}
const putBack = (rig: DamageRig, commands: readonly string[]) => fillIn(rig, commands, "COPY", keptKey(rig));
async function entrustAndLose(rig: DamageRig): Promise<void> {
  const pair = generateKeyPairSync("x25519");
  writeFileSync(join(rig.dir, "public.pem"), pair.publicKey.export({ type: "spki", format: "pem" }));
  writeFileSync(join(rig.dir, "private.pem"), pair.privateKey.export({ type: "pkcs8", format: "pem" }));
  const said = await rig.run([
    ...rig.program,
    ...["store", "entrust", join(rig.dir, "public.pem"), "--data-dir", rig.dataDir],
  ]);
  if (said.code !== 0) throw new Error(said.err);
  remove(storeKey(rig));
}

/** Nobody but a person can bring the key of the store back; the workloads are guarded meanwhile. */
const storeKeys: Case[] = (
  [
    { fault: "store key missing", break: (rig) => remove(storeKey(rig)), told: "STORE_KEY_MISSING" },
    { fault: "store key cut", break: (rig) => truncateSync(storeKey(rig), 20), told: "STORE_KEY_UNREADABLE" },
    // What is left of its 64 digits has the length of a key.
    { fault: "store key cut in half", break: (rig) => cut(storeKey(rig)), told: "STORE_KEY_WRONG" },
    { fault: "store key empty", break: (rig) => truncateSync(storeKey(rig), 0), told: "STORE_KEY_UNREADABLE" },
    {
      fault: "store key of another store",
      break: (rig) => writeFileSync(storeKey(rig), "ab".repeat(32)),
      told: "STORE_KEY_WRONG",
    },
    {
      fault: "store key missing, and its store damaged",
      break: (rig) => {
        remove(storeKey(rig));
        remove(join(inData(rig, "store"), "CURRENT"));
      },
      told: "STORE_KEY_MISSING",
    },
    {
      fault: "store key missing, but it is entrusted to somebody",
      break: entrustAndLose,
      told: "STORE_KEY_MISSING",
      byHand: (rig, commands) => fillIn(rig, commands, "PRIVATE.pem", join(rig.dir, "private.pem")),
    },
    {
      fault: "store key empty, but it is entrusted to somebody",
      break: async (rig) => {
        await entrustAndLose(rig);
        writeFileSync(storeKey(rig), "", { mode: 0o600 });
      },
      told: "STORE_KEY_UNREADABLE",
      byHand: (rig, commands) => fillIn(rig, commands, "PRIVATE.pem", join(rig.dir, "private.pem")),
    },
    {
      fault: "store key cut, and lost for good",
      break: (rig) => truncateSync(storeKey(rig), 20),
      told: "STORE_KEY_UNREADABLE",
      byHand: (rig, commands) => fillIn(rig, commands, "--empty", "--empty"),
    },
  ] satisfies Omit<Case, "group">[]
).map((one) => ({ group: "key", guarded: true, byHand: putBack, ...one }));
const openKeys: Case[] = [
  { group: "key", fault: "store key open to its group", break: (rig) => chmodSync(storeKey(rig), 0o640) },
  { group: "key", fault: "store key closed to all", break: (rig) => chmodSync(storeKey(rig), 0) },
];

/** A file system of its own, which takes nothing more. */
const readOnly: Case = {
  group: "directories",
  fault: "data directory read-only",
  break: (rig) => {
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", rig.dataDir]);
    cpSync(join(`${rig.dir}.golden`, "d"), rig.dataDir, { recursive: true, preserveTimestamps: true });
    chmodSync(rig.dataDir, 0o700);
    execFileSync("mount", ["-o", "remount,ro", rig.dataDir]);
  },
  undo: (rig) => void execFileSync("umount", ["-l", rig.dataDir]),
  told: "DATA_DIR_UNUSABLE",
};

/** For a node of another user than root, which root breaks. */
export function foreignCases(user: User): Case[] {
  const root = { uid: 0, gid: 0 };
  return [
    { group: "directories", fault: "wrong owner, mended by root", break: (rig) => giveAll(rig.dataDir, root) },
    {
      group: "directories",
      fault: "wrong owner, found by the node's own user",
      break: (rig) => giveAll(inData(rig, "store"), { uid: user.uid - 1, gid: user.gid }),
      byOwner: true,
      told: "DATA_DIR_UNUSABLE",
    },
    { group: "key", fault: "hub key of another owner, mended by root", break: (rig) => chownSync(rig.hubKey, 0, 0) },
    { group: "key", fault: "store key of another owner", break: (rig) => chownSync(storeKey(rig), 0, 0) },
    {
      group: "key",
      fault: "store key missing, put back by root",
      break: (rig) => remove(storeKey(rig)),
      told: "STORE_KEY_MISSING",
      guarded: true,
      byHand: putBack,
    },
  ];
}

/** Every case that this node can be broken by. */
export function casesOf(rig: DamageRig): Case[] {
  const mounted = canMount() ? [readOnly] : [];
  return [
    ...eachStoreFile(rig),
    ...wholeStore,
    ...programs,
    ...configs,
    ...places,
    ...mounted,
    ...keys,
    ...openKeys,
    ...storeKeys,
  ];
}
