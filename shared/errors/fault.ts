/**
 * Every error that a person or a script may meet: a stable code, whether trying again helps, and what to do. Codes never
 * change, words may. `exit` is the command line's exit code (design.md, section 8).
 */
export const catalogue = {
  CONFIG_INVALID: { retry: "never", exit: 2, remedy: "Correct the lines named above; nothing was started or changed." },
  CONFIG_NOT_FOUND: { retry: "never", exit: 2, remedy: "Give the path of an existing file that this user may read." },
  CONFIG_TORN: {
    retry: "later",
    exit: 2,
    remedy:
      "Write the file under another name, then rename it. When it is meant as it is: `blueflame-agent config stamp FILE`.",
  },
  USAGE: { retry: "never", exit: 2, remedy: "See --help." },
  NODE_VERSION: {
    retry: "never",
    exit: 1,
    remedy: "Run it with Node 22.23 or newer; `npm ci` installs one into node_modules/.bin.",
  },
  DATA_DIR_UNUSABLE: {
    retry: "later",
    exit: 1,
    remedy: "Name the right directory with --data-dir, and make it writable for this user.",
  },
  DATA_DIR_OF_ANOTHER: {
    retry: "never",
    exit: 1,
    remedy: "This directory belongs to another node id. Give this node its own --data-dir.",
  },
  STORE_LOCKED: {
    retry: "later",
    exit: 1,
    remedy:
      "The process named above holds the store. `kill PID` (`kill -9 PID` where it was stopped by a signal) ends an agent alone: its workloads go on, and `blueflame-agent up` guards them again (`down` would stop them too). A --data-dir of its own is for another node, never for a second agent beside it.",
  },
  STORE_DAMAGED: {
    retry: "never",
    exit: 1,
    remedy:
      "The store was left as it is. On a node: stop the agent, then `blueflame-agent store repair`, which keeps all that can be read; `store restore` only when that is of no use. On the hub: put a copy of its data directory back.",
  },
  STORE_HOLDS_MORE: {
    retry: "never",
    exit: 6,
    remedy:
      "Nothing was changed. What is damaged is mended by `blueflame-agent store repair`, which keeps more than any snapshot. To go back all the same, name the snapshot: `store restore --snapshot NUMBER`; `store verify` lists them.",
  },
  SNAPSHOT_DAMAGED: {
    retry: "never",
    exit: 1,
    remedy: "The store was left as it is. Name another snapshot: `blueflame-agent store verify` lists those here.",
  },
  STORE_NEWER: {
    retry: "never",
    exit: 1,
    remedy: "The store was written by a newer version. Install that version or a newer one.",
  },
  STORE_MISSING: {
    retry: "never",
    exit: 1,
    remedy:
      "The store existed once and is gone; it is not made anew by itself. Was another directory meant (--data-dir)? On a node: `blueflame-agent store restore` takes the youngest snapshot, with `--from-hub --config FILE` the one that the hub keeps; only when all is lost, `--empty` begins with nothing. On the hub: put a copy of its data directory back.",
  },
  STORE_WRITE_FAILED: {
    retry: "later",
    exit: 1,
    remedy: "Free space on the disk of the data directory or mend it; writing resumes by itself.",
  },
  STORE_SPACE_LOW: {
    retry: "later",
    exit: 1,
    remedy:
      "The disk or the store is nearly full: readings are not kept, all else is. Free space on the disk of the data directory.",
  },
  STORE_KEY_MISSING: {
    retry: "later",
    exit: 1,
    remedy:
      "The store is sealed and its key is gone; another one cannot open it. Put `store.key` back, or give the credential `blueflame-store-key` (`CREDENTIALS_DIRECTORY`); with the escrow key: `blueflame-agent store open-with FILE`. Only when all are lost: `blueflame-agent store restore --empty`.",
  },
  STORE_KEY_LOOSE: {
    retry: "later",
    exit: 1,
    remedy:
      "Others may read the key of the store. As the owner: `chmod 600` and `chown` the file, then `blueflame-agent store rotate-key --kek`.",
  },
  STORE_KEY_UNREADABLE: {
    retry: "later",
    exit: 1,
    remedy:
      "Make the key readable for the agent's user, or put its copy back; with the escrow key: move this one away, then `blueflame-agent store open-with FILE`.",
  },
  STORE_KEY_WRONG: {
    retry: "later",
    exit: 1,
    remedy:
      "This key belongs to another store; this one was left as it is. Put the right `store.key` or credential back; with the escrow key: `blueflame-agent store open-with FILE`.",
  },
  STORE_RECORD_CHANGED: {
    retry: "never",
    exit: 1,
    remedy: "A record of the store is damaged. Stop the agent, then `blueflame-agent store repair`.",
  },
  STORE_RECORD_CUT: {
    retry: "never",
    exit: 1,
    remedy: "A record of the store is damaged. Stop the agent, then `blueflame-agent store repair`.",
  },
  STORE_RECORD_SWAPPED: {
    retry: "never",
    exit: 1,
    remedy:
      "Somebody or something moved a record of the store. Find out who writes there; stop the agent, then `blueflame-agent store repair`.",
  },
  STORE_DATA_KEY_UNKNOWN: {
    retry: "never",
    exit: 1,
    remedy:
      "A record comes from another store, or the keys of this one are incomplete. Stop the agent, then `blueflame-agent store repair`.",
  },
  SOCKET_PATH_TOO_LONG: {
    retry: "never",
    exit: 1,
    remedy: "Unix socket paths have at most 107 bytes: give a shorter --data-dir.",
  },
  PORT_IN_USE: { retry: "later", exit: 1, remedy: "Stop what listens there, or give another address." },
  LISTEN_NOT_LOOPBACK: {
    retry: "never",
    exit: 2,
    remedy: "Plain HTTP listens on loopback only. Put a TLS proxy before it.",
  },
  AGENT_UNREACHABLE: {
    retry: "later",
    exit: 5,
    remedy: "Start it with `blueflame-agent up`, or name its directory with --data-dir.",
  },
  HUB_UNREACHABLE: {
    retry: "later",
    exit: 5,
    remedy: "Check that the hub runs and the address is right; workloads are guarded meanwhile.",
  },
  HUB_UNTRUSTED: {
    retry: "later",
    exit: 4,
    remedy: "The hub's certificate was not signed by the CA this node trusts. Compare the CA files of node and hub.",
  },
  HUB_MISNAMED: {
    retry: "later",
    exit: 4,
    remedy:
      "The hub's certificate carries other names than the one it was called by. Call it by one of them, or start the hub with that name too: `blueflame-hub serve --name HOST`.",
  },
  CERT_REFUSED: {
    retry: "later",
    exit: 4,
    remedy: "The hub does not accept this certificate. Issue one with `blueflame-hub cert`.",
  },
  CERT_EXPIRED: {
    retry: "later",
    exit: 4,
    remedy: "Check the machine's date first; then issue a new certificate with `blueflame-hub cert`.",
  },
  CERT_UNUSABLE: {
    retry: "never",
    exit: 2,
    remedy: "Give readable PEM files that belong together; the key needs mode 0600.",
  },
  NODE_ID_MISMATCH: {
    retry: "never",
    exit: 4,
    remedy: "The certificate was issued for another node id. Use the certificate of this node.",
  },
  NODE_ID_TAKEN: {
    retry: "later",
    exit: 4,
    remedy: "Another agent with this id is connected. If it is a clone, give it an identity of its own.",
  },
  INCARNATION_OLD: {
    retry: "never",
    exit: 4,
    remedy: "A newer life of this node has been seen: this one is a restored or cloned copy and must not act.",
  },
  CLOCK_WRONG: {
    retry: "later",
    exit: 1,
    remedy: "Set the machine's date; certificates cannot be checked without it.",
  },
  LINK_PROTOCOL: {
    retry: "later",
    exit: 1,
    remedy: "Hub and agent disagree on the protocol. Compare their versions; if it repeats, collect both logs.",
  },
  WORKLOAD_UNKNOWN: { retry: "never", exit: 3, remedy: "List the workloads with `blueflame-agent status`." },
  WORKLOAD_STOPPED: {
    retry: "never",
    exit: 6,
    remedy: "A person stopped it. Start it with `blueflame-agent start NAME`.",
  },
  WORKLOAD_FAILED: {
    retry: "later",
    exit: 1,
    remedy: "See why with `blueflame-agent logs` and `incidents`; the agent goes on trying by itself.",
  },
  SPAWN_FAILED: { retry: "later", exit: 1, remedy: "Check that the command exists and may be executed by this user." },
  NOT_FOUND: { retry: "never", exit: 3, remedy: "List what there is, and check the spelling." },
  DENIED: {
    retry: "never",
    exit: 4,
    remedy: "Ask with a certificate or token that has this right, or as a person at the node.",
  },
  CONDITION_FALSE: { retry: "later", exit: 6, remedy: "The condition does not hold now." },
  TIMED_OUT: {
    retry: "later",
    exit: 124,
    remedy:
      "Ask again, for longer where the command has --timeout, or look at why it takes so long: `doctor` tells of a node.",
  },
  LIMIT_REACHED: { retry: "later", exit: 1, remedy: "A bound of the system was reached; ask for less at once." },
  STATE_CONFLICT: {
    retry: "later",
    exit: 6,
    remedy: "The key was changed by somebody else: read it again and decide again.",
  },
  RISK_LOCKED: {
    retry: "never",
    exit: 6,
    remedy:
      "Do not trade. A closed session opens with the next one; a risk lock only by a person: `blueflame-agent state unlock WORKLOAD --reason WHY`.",
  },
  BAD_REQUEST: { retry: "never", exit: 2, remedy: "Correct the request as the message says." },
  NODE_UNWELL: { retry: "later", exit: 1, remedy: "Do what is said beside each of them, then look again." },
  PROGRAM_DAMAGED: {
    retry: "never",
    exit: 1,
    remedy: "Install the program again, then run `blueflame-agent emergency`.",
  },
  STORE_RESTORED: {
    retry: "never",
    exit: 1,
    remedy:
      "An older copy of the store was put back. Nothing is sent to the hub until it begins a new life: stop the agent, then `blueflame-agent store repair --new-life`.",
  },
  AUDIT_BROKEN: {
    retry: "never",
    exit: 1,
    remedy:
      "Records were changed, cut off or lost at the places named. Keep this store, and compare with the other side: `blueflame audit verify NODE` at the hub, `blueflame-agent audit verify` on the node.",
  },
  NOT_BUILT: { retry: "never", exit: 1, remedy: "Build it with `npm run build`." },
  INSTALL_FAILED: {
    retry: "never",
    exit: 1,
    remedy: "Mend what is named above and run it again: what is done already does no harm, and `uninstall` removes it.",
  },
  HUB_FAILED: { retry: "later", exit: 1, remedy: "The hub could not answer; its log has the details." },
} as const satisfies Record<string, { retry: "never" | "later"; exit: number; remedy: string }>;

/** A code of the {@link catalogue}. */
export type FaultCode = keyof typeof catalogue;

/** An expected failure: what was seen and where (`saw`, a clause without a full stop), and by its code what to do. */
export class Fault extends Error {
  override readonly name = "Fault";
  readonly code: FaultCode;
  /** What was seen, without code and remedy. */
  readonly saw: string;

  constructor(code: FaultCode, saw: string, options?: { cause?: unknown }) {
    super(`[${code}] ${saw}. ${catalogue[code].remedy}`, options);
    this.code = code;
    this.saw = saw;
  }
  get retry(): "never" | "later" {
    return catalogue[this.code].retry;
  }
  get exit(): number {
    return catalogue[this.code].exit;
  }
}

/** True when `error` is a {@link Fault}, with that code when one is given. */
export function isFault(error: unknown, code?: FaultCode): error is Fault {
  return error instanceof Fault && (code === undefined || error.code === code);
}

/** Our own mistakes: throws when `holds` is false. The process then stops under its supervisor. */
export function invariant(holds: boolean, message: string): asserts holds {
  if (!holds) throw new Error(`invariant broken: ${message}`);
}

/** Closes a switch: a forgotten case does not compile. */
export function unreachable(value: never): never {
  throw new Error(`invariant broken: unhandled ${JSON.stringify(value)}`);
}
