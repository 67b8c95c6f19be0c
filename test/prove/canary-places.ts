/** Where a canary may stand by design, and every place where a node could have left one. */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Canary, type Kind, Search } from "./canary-forms.ts";

/** A place that holds something in plain text because that is what it is for. */
interface Home {
  /** A file's path below the trial's folder, or what a command printed: `$ status -o json`. */
  readonly place: RegExp;
  readonly of: readonly Kind[];
  readonly because: string;
  /** Only what happens in some rounds puts anything there. */
  readonly seldom?: true;
}

const inConfig: readonly Kind[] = ["environment", "safe mode", "probe"];

/** All there are. Nothing else holds any of them, and a file among them is readable for its owner alone. */
const homes: readonly Home[] = [
  { place: /^agent\.yaml$/, of: inConfig, because: "the operator's own config file" },
  { place: /^own\.conf$/, of: ["config file"], because: "the workload's own config file" },
  { place: /^book\.db$/, of: ["data file"], because: "the workload's own data" },
  { place: /^said$/, of: ["output"], because: "what the workload prints" },
  { place: /^answers$/, of: ["answer"], because: "what a probe and a step of a playbook print" },
  { place: /^plays\//, of: ["argument"], because: "the operator's own playbook" },
  {
    place: /^(d\/runs\/|process arguments$)/,
    of: ["argument"],
    because: "a step that is going on has its arguments, and the run must go on after a crash",
    seldom: true,
  },
  {
    place: /^escrow\.pem$/,
    of: ["escrow key"],
    because: "the trial's place for what the owner of the fleet keeps",
    seldom: true,
  },
  {
    place: /^d\/last-good-config\.json$/,
    of: inConfig,
    because: "an agent whose config file is torn or whose key is lost goes on with it, so no key may be needed",
  },
  {
    place: /^d\/critical\.json$/,
    of: ["environment"],
    because: "the watchdog starts critical workloads from it while no agent can be had, and has no key",
  },
  { place: /^d\/store\.key$/, of: ["key file"], because: "the key itself, where no service manager keeps it" },
  {
    place: /^d\/backups\/risk\/[^/]+\/copy\//,
    of: ["data file"],
    because: "a copy of the workload's files for the ladder and for a person, as guarded as they are",
  },
  { place: /^d\/logs\/workloads\//, of: ["output"], because: "a workload's output is kept as it was printed" },
  {
    place: /^d\/diagnostics\//,
    of: ["output"],
    because: "a bundle for people at the node ends with the last lines",
    seldom: true,
  },
  {
    place: /^\$ (status|doctor|state list|audit|audit export)\b/,
    of: ["lock reason", "session name", "session's end"],
    because: "why it may not trade is written for people, and a person at the node may ask",
  },
];

/** Files of a draft that is about to get this name, or of a rotation of it, are the same place. */
const drafts = /(\.new|\.damaged|\.aside|\.\d+)$/;
/** For the owner alone. */
const othersMay = 0o077;

/** A canary where it must not be. */
export interface Find {
  readonly canary: Canary;
  readonly place: string;
}

/** Looks for canaries, and remembers each place that it has looked at, each find, and which homes are lived in. */
export class Lookout {
  readonly places = new Set<string>();
  readonly finds = new Map<string, Find>();
  readonly canaries: Canary[] = [];
  /** Out of their places. */
  readonly found = new Set<Canary>();
  /** Homes that anybody was found in. */
  readonly #lived = new Set<Home>();
  readonly #search = new Search();

  add<C extends Canary>(canary: C): C {
    this.canaries.push(canary);
    this.#search.add(canary);
    return canary;
  }

  /** Everything below the folder but sockets, and its names too: a file may be called after what it holds. */
  folder(top: string, below = ""): void {
    for (const entry of orGone(() => readdirSync(join(top, below), { withFileTypes: true })) ?? []) {
      const place = join(below, entry.name);
      this.#see(`the name of ${place}`, Buffer.from(entry.name));
      if (entry.isDirectory()) this.folder(top, place);
      else if (entry.isFile())
        orGone(() => this.text(place, readFileSync(join(top, place)), lstatSync(join(top, place)).mode));
    }
  }

  /** The arguments of every process of this machine. */
  commandLines(): void {
    for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      try {
        this.text("process arguments", readFileSync(`/proc/${pid}/cmdline`));
      } catch {
        // It has ended.
      }
    }
  }

  /** `mode`: of the file that it stands in. Throws for a home that others may read. */
  text(place: string, bytes: Buffer, mode = 0): void {
    this.places.add(place);
    this.#see(place, bytes, mode);
  }
  #see(place: string, bytes: Buffer, mode = 0): void {
    const name = place.replace(drafts, "");
    for (const canary of this.#search.in(bytes)) {
      const home = homes.find((one) => one.place.test(name) && one.of.includes(canary.kind));
      if (home && place.startsWith("d/") && (mode & othersMay) !== 0)
        throw new Error(`'${place}' holds the ${canary.kind}, and others may read it (mode ${mode.toString(8)})`);
      if (home) this.#lived.add(home);
      else this.#escaped({ canary, place });
    }
  }

  #escaped(find: Find): void {
    this.finds.set(`${find.canary.kind} in ${find.place}`, find);
    this.found.add(find.canary);
  }

  /** Homes where nobody was found, although somebody was put there: whoever finds nothing there finds nothing anywhere. */
  deserted(): string[] {
    return homes.filter((home) => !home.seldom && !this.#lived.has(home)).map(({ place }) => String(place));
  }
}

/** Undefined for what is removed meanwhile: the node lives while it is searched. */
function orGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
