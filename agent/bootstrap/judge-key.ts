/**
 * A sealed store and its key. Nobody makes another key for it: that would not open it. So a person puts the right one back, and
 * meanwhile the agent guards the workloads from memory. Pure.
 */
import type { Findings, StoreFound } from "./findings.ts";
import { agentCommand, emergencyAgain } from "./judge-place.ts";
import { broken, type Done, type Judgement, nothing, type Step, typed } from "./steps.ts";

/** An agent that guards from memory tries to open its store every second. */
const openMs = 3000;

/** The store does not open with what is there as its key. */
export function judgeClosed(
  found: Findings,
  done: readonly Done[],
  { code, because }: Pick<StoreFound, "code" | "because">,
): Judgement {
  const { agent, key, secrets } = found;
  const part = "store";
  if (agent.is === "dead" && key.credential !== undefined && code === "STORE_KEY_MISSING") {
    const saw = `its key is the service manager's (${key.credential}): only a start by it can open the store`;
    return { ...nothing, verdicts: [{ part, state: "warning", saw }] };
  }
  const guarded =
    agent.is === "dead" ? "" : `; the agent (pid ${agent.pid}) guards the workloads from memory meanwhile`;
  const saw = `${because}${guarded}`;
  const steps: Step[] = agent.is === "dead" ? [] : [{ do: "awaitStore", forMs: openMs }];
  // What is wrong with the file itself was said there, with its own commands.
  const told = secrets.some(({ opens, is }) => opens === "store" && (is === "loose" || is === "unreadable"));
  const commands = [...commandsFor(found), emergencyAgain(found)];
  const judged = broken(part, saw, done, steps, { code, because: saw, commands });
  return told ? { ...judged, troubles: [] } : judged;
}

function commandsFor(found: Findings): string[] {
  const { key, start } = found;
  // Also beside a good credential: a file that is no key keeps the store closed.
  const useless = key.is === "missing" || key.is === "there" || key.is === "unknown" ? [] : outOfTheWay(found);
  if (key.credential !== undefined) return [...useless, ...credentialCommands(found, key.credential)];
  const imported = start.by === "init" ? ["# or as the credential `blueflame-store-key` of the service"] : [];
  const holder = key.entrusted ?? (key.sealed ? undefined : "when it was entrusted to one");
  return [
    ...useless,
    "# put the store's own key back, from a copy of it; nobody can make it again:",
    `# ${putBack(found)}`,
    ...imported,
    ...(holder === undefined
      ? []
      : [
          `# or with the private key that the store is entrusted to (${holder}); when it says STORE_LOCKED, type it again:`,
          `# ${agentCommand(found, "store", "open-with", "PRIVATE.pem")}`,
        ]),
    ...earlierCommands(found),
    "# or, when all of these are lost for good, giving up what the store knew (what a person stopped stays stopped):",
    `# ${agentCommand(found, "store", "restore", "--empty")}`,
    "# then:",
  ];
}

function putBack({ key, owner, self }: Findings): string {
  const owned = self === 0 ? ["-o", String(owner.uid), "-g", String(owner.gid)] : [];
  return typed(["install", "-m", "600", ...owned, "COPY", key.path]);
}

/** A key from before a change opens the snapshots of its time, here or at the hub. */
function earlierCommands(found: Findings): string[] {
  const { secrets, store, config } = found;
  const said = "# or with a key that it had earlier, which opens snapshots from before the change:";
  if (config.path !== undefined && secrets.some(({ opens }) => opens === "link")) {
    const from = ["--from-hub", "--config", config.path, "--open-with", "EARLIER.key"];
    return [said, `# ${agentCommand(found, "store", "restore", ...from)}`];
  }
  if (store.snapshots === 0) return [];
  return [
    said,
    `# ${agentCommand(found, "store", "open-with", "EARLIER.key")}`,
    `# ${agentCommand(found, "store", "restore")}`,
  ];
}

function outOfTheWay({ key }: Findings): string[] {
  const said = `# what lies in ${key.path} opens nothing here; it may be the only key of another store:`;
  return [said, typed(["mv", key.path, key.aside])];
}

function credentialCommands({ start }: Findings, credential: string): string[] {
  const usual = "/etc/credstore.encrypted/blueflame-store-key";
  const encrypted = credential.includes("/credstore.encrypted/") ? credential : usual;
  const creds = ["systemd-creds", ...(start.by === "init" && start.user ? ["--user"] : []), "encrypt"];
  const restart =
    start.by === "init" ? [typed(["systemctl", ...(start.user ? ["--user"] : []), "restart", start.unit])] : [];
  return [
    `# the service manager gives a key (${credential}); where that is not the store's own, give it a copy of that one, like this:`,
    `# ${typed([...creds, "--name=blueflame-store-key", "COPY", encrypted])}`,
    ...restart,
  ];
}

/**
 * The agent has its store open, and the next one could not open it: the key file is gone or worthless. While this one lives it
 * can give the store another key. Undefined: all is well, or nobody can tell.
 */
export function judgeLosable(found: Findings, done: readonly Done[]): Judgement | undefined {
  const { key, agent, dataDir } = found;
  const said = { missing: "is missing", empty: "is empty", "no-key": "holds no key", another: "is another store's" };
  if (key.is === "there" || key.is === "unknown" || key.credential !== undefined || !key.sealed) return undefined;
  if (agent.is !== "answers" || dataDir.refuses !== undefined) return undefined;
  const saw = `${key.path} ${said[key.is]}: the agent (pid ${agent.pid}) still has the store open, and the next one cannot open it`;
  const code =
    key.is === "missing" ? "STORE_KEY_MISSING" : key.is === "another" ? "STORE_KEY_WRONG" : "STORE_KEY_UNREADABLE";
  const commands = [
    ...(key.is === "missing" ? [] : [typed(["mv", key.path, key.aside])]),
    "# before the agent ends, give the store another key, which is written there (copies of the one before open it no more):",
    agentCommand(found, "store", "rotate-key", "--kek"),
    "# or put back a copy of the one that it has:",
    `# ${putBack(found)}`,
    emergencyAgain(found),
  ];
  return broken("store", saw, done, [], { code, because: saw, commands });
}
