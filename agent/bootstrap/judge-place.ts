/** What the node stands on: the data directory, the disk, the installation, the config, the secrets. Pure. */
import type { FileFound, Findings, FolderFound, SecretFound } from "./findings.ts";
import {
  broken,
  type Done,
  type Judgement,
  joined,
  nothing,
  type Step,
  sound,
  type Trouble,
  tried,
  typed,
} from "./steps.ts";

/** Below it the store refuses soon; what to free is a person's choice. */
const diskFloorBytes = 16 * 1024 * 1024;

/** The operator's next word, after what only a person could do. */
export function emergencyAgain(found: Findings): string {
  return typed([...(found.works ?? found.program.words), "emergency", "--data-dir", found.dataDir.path]);
}
export function agentCommand(found: Findings, ...words: string[]): string {
  return typed([...(found.works ?? found.program.words), ...words, "--data-dir", found.dataDir.path]);
}

/** The data directory itself. Without it nothing else can be judged. */
export function judgeDataDir(found: Findings, done: readonly Done[]): Judgement {
  const { dataDir } = found;
  const part = "data directory";
  if (dataDir.is !== "there") {
    const saw =
      dataDir.is === "missing"
        ? `${dataDir.path} is gone, and with it everything that the node knew`
        : `${dataDir.path} is no directory`;
    const move = dataDir.is === "missing" ? [] : [typed(["mv", dataDir.path, `${dataDir.path}.aside`])];
    const up = typed([...found.program.words, "up", "--config", "CONFIG", "--data-dir", dataDir.path]);
    const commands = [
      ...move,
      `# cp -a BACKUP ${typed([dataDir.path])}`,
      emergencyAgain(found),
      `# or, as a new node: ${up}`,
    ];
    return broken(part, saw, done, [], { code: "DATA_DIR_UNUSABLE", because: saw, commands });
  }
  const owned = judgeOwner(found, done);
  if (owned.steps.length + owned.troubles.length > 0) return owned;
  const held = judgeFolder(found, dataDir, part, done);
  return held.verdicts.length > 0
    ? held
    : { ...nothing, verdicts: [sound(part, dataDir.path, done, isAbout(dataDir.path))] };
}

function isAbout(path: string): (step: Step) => boolean {
  // Files that were opened have a verdict of their own.
  return (step) => "path" in step && step.do !== "openFiles" && step.path === path;
}

function judgeOwner(found: Findings, done: readonly Done[]): Judgement {
  const { foreign, owner, dataDir, self } = found;
  if (foreign.count === 0) return nothing;
  const who = `${owner.uid}:${owner.gid}`;
  const saw = `${foreign.count} entries belong to somebody else than ${who}, the first is ${foreign.first}`;
  const steps: Step[] = self === 0 ? [{ do: "takeOver", path: dataDir.path }] : [];
  const commands = [typed(["sudo", "chown", "-R", who, dataDir.path]), emergencyAgain(found)];
  const trouble = { code: "DATA_DIR_UNUSABLE", because: saw, commands, stops: true };
  return broken("ownership", saw, done, steps, trouble);
}

/** Files of ours that their owner may not read or write. */
export function judgeClosedFiles(found: Findings, done: readonly Done[]): Judgement {
  const { closed, dataDir, self } = found;
  const step: Step = { do: "openFiles", path: dataDir.path };
  if (closed.count === 0) {
    const opened = tried(done, step);
    return opened?.ok ? { ...nothing, verdicts: [sound("files", "", done, (one) => one.do === step.do)] } : nothing;
  }
  const saw = `${closed.count} entries may not be read or written by their owner, the first is ${closed.first}`;
  const sudo = self === 0 ? [] : ["sudo"];
  const commands = [typed([...sudo, "chmod", "-R", "u+rwX", dataDir.path]), emergencyAgain(found)];
  return broken("files", saw, done, [step], { code: "DATA_DIR_UNUSABLE", because: saw, commands });
}

/** The folders in it; those that are missing are made. */
export function judgeFolders(found: Findings, done: readonly Done[]): Judgement {
  const judged = found.folders.map((folder) => judgeFolder(found, folder, "folders", done));
  const all = joined(judged);
  if (all.verdicts.length > 0) return all;
  const paths = new Set(found.folders.map(({ path }) => path));
  const mine = (step: Step) => "path" in step && paths.has(step.path);
  return { ...nothing, verdicts: [sound("folders", `${paths.size} are there`, done, mine)] };
}

function judgeFolder(found: Findings, folder: FolderFound, part: string, done: readonly Done[]): Judgement {
  const { path } = folder;
  const unusable = (commands: readonly string[]): Trouble => ({
    code: "DATA_DIR_UNUSABLE",
    because: "",
    commands: [...commands, emergencyAgain(found)],
  });
  if (folder.is === "missing") {
    return broken(
      part,
      `${path} is missing`,
      done,
      [{ do: "makeFolder", path }],
      unusable([typed(["mkdir", "-m", "700", path])]),
    );
  }
  if (!folder.ours) return nothing;
  if (folder.is === "no-folder") {
    const steps: Step[] = [
      { do: "moveAside", path },
      { do: "makeFolder", path },
    ];
    return broken(part, `${path} is no directory`, done, steps, unusable([typed(["mv", path, `${path}.aside`])]));
  }
  const mode = folder.mode ?? 0o700;
  const right = (mode | 0o700) & ~0o022;
  if (mode !== right) {
    const saw = `${path} has mode ${mode.toString(8)}`;
    return broken(
      part,
      saw,
      done,
      [{ do: "setMode", path, mode: right }],
      unusable([typed(["chmod", right.toString(8), path])]),
    );
  }
  if (folder.refuses === undefined || folder.refuses === "ENOSPC" || folder.refuses === "EDQUOT") return nothing;
  const saw = `${path} takes no file: ${folder.refuses}`;
  if (folder.refuses !== "EROFS") {
    // Whose it is was judged before: we are not allowed to be here.
    const commands = found.self === 0 ? [`# find out why: ${typed(["ls", "-lda", path])}`] : [];
    return broken(part, saw, done, [], { ...unusable([]), commands: [...commands, `sudo ${emergencyAgain(found)}`] });
  }
  return broken(part, saw, done, [], unusable([typed(["mount", "-o", "remount,rw", found.disk?.mount ?? path])]));
}

export function judgeDisk(found: Findings, done: readonly Done[]): Judgement {
  const { disk, dataDir } = found;
  const full = dataDir.refuses === "ENOSPC" || dataDir.refuses === "EDQUOT";
  if (!disk) return { ...nothing, verdicts: [{ part: "disk", state: "warning", saw: "its space is unknown" }] };
  const saw = `${Math.floor(disk.freeBytes / 2 ** 20)} MiB of ${Math.floor(disk.totalBytes / 2 ** 20)} MiB are free on ${disk.mount}`;
  if (!full && disk.freeBytes >= diskFloorBytes)
    return { ...nothing, verdicts: [sound("disk", saw, done, () => false)] };
  const commands = [
    typed(["du", "-x", "-d", "2", disk.mount]),
    `# free what is not needed, then: ${emergencyAgain(found)}`,
  ];
  return broken("disk", saw, done, [], { code: "STORE_WRITE_FAILED", because: saw, commands });
}

/** The program and what it needs, compared with the good copy. */
export function judgeProgram(found: Findings, done: readonly Done[]): Judgement {
  const { program, files } = found;
  const name = typed(program.words);
  const damaged = files.filter(({ differs }) => differs !== undefined);
  const isNewer = program.starts && found.good.is !== "missing" && isLater(program.version, program.goodVersion);
  if (damaged.length === 0 && program.starts) {
    const saw = `${name} starts, version ${program.version}`;
    return {
      ...nothing,
      verdicts: [sound("program", saw, done, (step) => step.do === "reinstall" && !isItsConfig(found, step.name))],
    };
  }
  if (isNewer) {
    const saw = `${name} starts as version ${program.version}, the good copy is ${program.goodVersion}: \`install\` makes this one the good one`;
    return { ...nothing, verdicts: [{ part: "program", state: "warning", saw }] };
  }
  const saw = damaged.length > 0 ? damaged.map(saidOf).join("; ") : `${name} does not start: ${program.because}`;
  const steps = damaged
    .filter(({ copy }) => copy === undefined)
    .map((file): Step => ({ do: "reinstall", name: file.name }));
  const commands = [
    `# install version ${program.goodVersion || "of the release"} again at ${name}`,
    emergencyAgain(found),
  ];
  // One after the other would be looked at half done; all at once are one step.
  const open = steps.filter((step) => !done.some((one) => JSON.stringify(one.step) === JSON.stringify(step)));
  if (open.length > 0) return { verdicts: [{ part: "program", state: "broken", saw }], steps: open, troubles: [] };
  // Where the good copy starts, it runs in its place.
  const stops = found.works === undefined;
  return broken("program", saw, done, steps, { code: "PROGRAM_DAMAGED", because: saw, commands, stops });
}

function isItsConfig({ files, config }: Findings, name: string): boolean {
  return files.some((file) => file.name === name && file.target === config.path);
}

/** Versions like `1.2.3`; what follows the numbers does not count. */
function isLater(version: string, than: string): boolean {
  const [a = [], b = []] = [version, than].map((one) => one.split(/[.+-]/).slice(0, 3).map(Number));
  const at = [0, 1, 2].find((part) => a[part] !== b[part]);
  return at !== undefined && (a[at] ?? 0) > (b[at] ?? 0);
}

function saidOf({ target, differs, copy }: FileFound): string {
  return `${target} ${differs ?? ""}${copy === undefined ? "" : `, and ${copy}`}`;
}

export function judgeGoodCopy({ good }: Findings): Judgement {
  if (good.is === "sound") return { ...nothing, verdicts: [{ part: "good copy", state: "well", saw: good.because }] };
  return { ...nothing, verdicts: [{ part: "good copy", state: "warning", saw: good.because }] };
}

/** A config that cannot be used: the good copy, which is refreshed at each start, else the last good one in memory of the agent. */
export function judgeConfig(found: Findings, done: readonly Done[]): Judgement {
  const { config, files } = found;
  const { path } = config;
  if (path === undefined && config.is === "sound")
    return { ...nothing, verdicts: [{ part: "config", state: "well", saw: "it was started without one" }] };
  if (path !== undefined && config.is === "sound") {
    return {
      ...nothing,
      verdicts: [sound("config", path, done, (step) => step.do === "reinstall" && isItsConfig(found, step.name))],
    };
  }
  if (path === undefined || config.is === "unknown")
    return { ...nothing, verdicts: [{ part: "config", state: "warning", saw: config.because }] };
  const isFile = config.is !== "no-file";
  const saw = !isFile
    ? `${path} ${config.because}`
    : `${path} is ${config.is}${config.because === "" ? "" : `: ${config.because}`}`;
  const copy = files.find(({ target }) => target === path);
  const steps: Step[] = config.copy === "sound" ? [{ do: "reinstall", name: copy?.name ?? "" }] : [];
  // The agent goes on with the last good one; the file is a person's to mend.
  if (config.lastGood) return broken("config", `${saw}; the last good one is used`, done, steps, undefined);
  const check = typed([...(found.works ?? found.program.words), "config", "check", path]);
  const move = isFile ? [] : [typed(["mv", path, `${path}.aside`])];
  const commands = [...move, `# write ${path} again, then: ${check}`, emergencyAgain(found)];
  const code = config.is === "missing" ? "CONFIG_NOT_FOUND" : "CONFIG_INVALID";
  return broken("config", saw, done, steps, { code, because: saw, commands });
}

export function judgeSecrets(found: Findings, done: readonly Done[]): Judgement {
  if (found.secrets.length === 0) return nothing;
  const bad = found.secrets.filter(isBad);
  if (bad.length > 0) return joined(bad.map((secret) => judgeSecret(found, secret, done)));
  const mine = (step: Step) => "path" in step && found.secrets.some(({ path }) => path === step.path);
  const verdict = sound("secrets", found.secrets.map(({ path }) => path).join(", "), done, mine);
  const wasLoose = done.some(
    ({ step, ok }) => ok && step.do === "setMode" && step.path === found.key.path && ((step.from ?? 0) & 0o077) !== 0,
  );
  const another = `; others could read it until now: ${agentCommand(found, "store", "rotate-key", "--kek")}`;
  return { ...nothing, verdicts: [wasLoose ? { ...verdict, saw: `${verdict.saw}${another}` } : verdict] };
}

/** What is in the key of the store, and whether there has to be one, only the store can tell. */
function isBad({ is, opens }: SecretFound): boolean {
  if (opens === "store") return is === "loose" || is === "unreadable";
  return is !== "well" && !(is === "missing" && opens === "guards");
}

function judgeSecret(found: Findings, secret: SecretFound, done: readonly Done[]): Judgement {
  const { path, is, because, opens } = secret;
  const saw = `${path} is ${is}${because === "" ? "" : `: ${because}`}`;
  const lost = [
    "# on the hub's machine:",
    "#   blueflame-hub cert --node NODE --out PAPERS",
    `# bring the key here as ${path} with mode 600, then:`,
  ];
  const owner = `${found.owner.uid}:${found.owner.gid}`;
  const closed = [typed(["sudo", "chown", owner, path]), typed(["sudo", "chmod", "600", path])];
  const commands = [...(is === "missing" || is === "empty" ? lost : closed), emergencyAgain(found)];
  const code = opens !== "store" ? "CERT_UNUSABLE" : is === "loose" ? "STORE_KEY_LOOSE" : "STORE_KEY_UNREADABLE";
  return broken("secrets", saw, done, secretSteps(secret, found.owner.uid), { code, because: saw, commands });
}

function secretSteps({ path, is, opens, mode, uid }: SecretFound, owner: number): Step[] {
  const close: Step = { do: "setMode", path, mode: 0o600, ...(mode !== undefined && { from: mode }) };
  // Who made it makes another one once this one is out of the way.
  const anew: Step[] = opens === "guards" ? [{ do: "moveAside", path }] : [];
  if (is === "loose") return [close];
  if (is === "empty") return anew;
  if (is !== "unreadable") return [];
  return [...(uid === owner ? [] : [{ do: "takeOver", path } as const]), close, ...anew];
}
