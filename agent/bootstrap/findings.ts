/** What the emergency finds out before it decides. Gathered by `look.ts`; every field is a fact, none a judgement. */

/** How the emergency was called. */
export interface Asked {
  /** Called by the watchdog or the ladder, not by a person. */
  readonly auto: boolean;
  /** A person takes back a `down` of a person. */
  readonly start: boolean;
}

/** One folder, or what lies in its place. */
export interface FolderFound {
  readonly path: string;
  /** False for the working directory of a workload: made when it is missing, and else not judged. */
  readonly ours: boolean;
  readonly is: "there" | "missing" | "no-folder";
  /** Undefined when it is missing. */
  readonly uid: number | undefined;
  readonly mode: number | undefined;
  /** What came of writing a file into it: undefined when it worked or was not tried, else the error's code. */
  readonly refuses: string | undefined;
}

/** A file that the installation is made of. */
export interface FileFound {
  readonly name: string;
  readonly target: string;
  /** Undefined: as it was installed. */
  readonly differs: string | undefined;
  /** Undefined: the good copy of it is whole. */
  readonly copy: string | undefined;
}

/** A secret that the agent reads. */
export interface SecretFound {
  readonly path: string;
  readonly is: "well" | "missing" | "empty" | "unreadable" | "loose";
  readonly because: string;
  /** Undefined when it is missing. */
  readonly mode?: number;
  readonly uid?: number;
  /** `guards`: agent and watchdog know each other by it, and make another one when it is missing. `store`: see {@link KeyFound}. */
  readonly opens: "guards" | "link" | "store";
}

/** The key of the sealed store. */
export interface KeyFound {
  readonly path: string;
  /** `no-key`: these bytes are none. `another`: a key, of another store. `unknown`: it cannot be read. */
  readonly is: "there" | "missing" | "empty" | "no-key" | "another" | "unknown";
  /** A name beside it that nobody has. */
  readonly aside: string;
  /** Where the service manager has it; undefined: nobody can tell that it has. */
  readonly credential: string | undefined;
  /** Who else can open the store: the id of an escrow key. */
  readonly entrusted: string | undefined;
  /** The store has wrapped keys: only this one opens them. */
  readonly sealed: boolean;
}

/** What the store's own command said, or why it was not asked. */
export interface StoreFound {
  /**
   * `closed`: its key is not there, or not the right one. Nobody knows what it holds, and nothing of it is touched. `refused`: the
   * disk or a file's mode keeps it from being read or written.
   */
  readonly is: "sound" | "absent" | "damaged" | "in-use" | "held" | "closed" | "refused" | "unknown";
  /** An error code of the catalogue; empty when there is none. */
  readonly code: string;
  readonly because: string;
  /** Who holds it without being our agent. */
  readonly holder: { readonly pid: number; readonly command: string; readonly stopped?: boolean } | undefined;
  readonly snapshots: number;
  /** Damaged stores that are kept beside it, oldest first. */
  readonly copies: readonly string[];
}

/** A process of ours. */
export interface ProcessFound {
  /** `silent`: it lives and does not answer. */
  readonly is: "answers" | "silent" | "dead";
  readonly pid: number | undefined;
  readonly because: string;
}

/** One workload of the config that was in use last. */
export interface WorkloadFound {
  readonly name: string;
  /** `rests`: a person stopped it, or it has done its one job. */
  readonly is: "runs" | "rests" | "down";
  readonly because: string;
}

export interface Findings {
  readonly asked: Asked;
  /** When it ran by itself for the last time; undefined: never, or nobody knows. */
  readonly lastAutoAgoMs: number | undefined;
  readonly word: "down" | "stop" | undefined;
  readonly killSwitch: boolean;

  readonly dataDir: FolderFound;
  readonly folders: readonly FolderFound[];
  /** Whose everything in the data directory should be, and who we are. */
  readonly owner: { readonly uid: number; readonly gid: number };
  readonly self: number;
  /** Entries of the data directory that are somebody else's; the first few, and how many. */
  readonly foreign: { readonly count: number; readonly first: string };
  /** Files of ours in the data directory that their owner may not read or write, and the first of them. */
  readonly closed: { readonly count: number; readonly first: string };
  readonly disk: { readonly freeBytes: number; readonly totalBytes: number; readonly mount: string } | undefined;

  readonly good: { readonly is: "sound" | "damaged" | "missing"; readonly because: string };
  readonly files: readonly FileFound[];
  /** The installed program: whether it starts, and as which version. */
  readonly program: {
    readonly words: readonly string[];
    readonly starts: boolean;
    readonly because: string;
    readonly version: string;
    readonly goodVersion: string;
  };
  /** The program that the children run: the installed one, else the good copy; undefined when neither starts. */
  readonly works: readonly string[] | undefined;

  readonly config: {
    /** Undefined: it was started without one, or, when `unknown`, nobody can tell. */
    readonly path: string | undefined;
    readonly is: "sound" | "missing" | "empty" | "no-file" | "invalid" | "unknown";
    readonly because: string;
    readonly copy: "sound" | "damaged" | "missing";
    readonly lastGood: boolean;
  };
  readonly secrets: readonly SecretFound[];
  readonly key: KeyFound;
  readonly store: StoreFound;
  /** `barred`: its mode lets nobody in. */
  readonly socket: "none" | "listens" | "left-over" | "barred" | "no-socket";
  readonly lock: "none" | "held" | "left-over";
  readonly watchdog: ProcessFound;
  readonly agent: ProcessFound;
  readonly workloads: readonly WorkloadFound[];
  /** How everything is started: by init, by the words of the last start, or nobody knows. */
  readonly start:
    | { readonly by: "init"; readonly unit: string; readonly user: boolean }
    | { readonly by: "words" }
    /** `unread`: it was written down, and why that cannot be read. */
    | { readonly by: "nobody"; readonly unread?: string };
}
