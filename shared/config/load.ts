import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { LineCounter, parseDocument, type YAMLError } from "yaml";
import { configFault, type Place, type Problem } from "./problems.ts";
import { Abandoned, Walk } from "./walk.ts";

/** A larger config file is a mistake: 1 MiB. */
export const configBytesMax = 1_048_576;

/** A config file that was read but may still have problems; its reader adds those that only it can see. */
export interface Draft<S extends DescMessage> {
  /** Whatever was wrong stands at its default, so further checks can look at it. Only {@link Draft.finish} vouches for it. */
  readonly message: MessageShape<S>;
  /** Adds a problem at `path` (`workloads[0].cwd`), or at the section around it when it was not written. */
  add(path: string, saw: string, allowed: string, meant?: string): void;
  /** True when `path` stands in the file. */
  isGiven(path: string): boolean;
  /** True when `path` or what is inside it has a problem already, so that no second one is told about the same thing. */
  isBroken(path: string): boolean;
  /** The message. Throws CONFIG_INVALID with every problem when there is one. */
  finish(): MessageShape<S>;
}

/**
 * Reads YAML against a schema whose fields carry `(blueflame.config.v1.rule)`. Keys are the field names; absent values
 * and sections get their defaults. Throws CONFIG_INVALID at once for what is no YAML, too large or too many documents.
 */
export function draftConfig<S extends DescMessage>(schema: S, text: string, fileName: string): Draft<S> {
  if (Buffer.byteLength(text) > configBytesMax) {
    throw configFault(fileName, [
      { ...start, path: "", saw: "larger than 1 MiB", allowed: "allowed is at most 1 MiB" },
    ]);
  }
  const walk = parse(text, fileName);
  let message: MessageShape<S>;
  try {
    // The walk was given this schema, so its message is of this shape.
    message = walk.root(schema) as MessageShape<S>;
  } catch (error) {
    if (error instanceof Abandoned) throw configFault(fileName, [error.problem]);
    throw error;
  }
  const problems: Problem[] = walk.problems;
  return {
    message,
    add(path, saw, allowed, meant) {
      problems.push({ ...placeOf(walk.places, path), path, saw, allowed, ...(meant === undefined ? {} : { meant }) });
    },
    isGiven: (path) => walk.places.has(`${path}#`),
    isBroken: (path) =>
      problems.some(
        (problem) =>
          problem.path === path || (/^[.[]/.test(problem.path.slice(path.length)) && problem.path.startsWith(path)),
      ),
    finish() {
      if (problems.length > 0) throw configFault(fileName, problems);
      return message;
    },
  };
}

/** As {@link draftConfig}, for a schema that needs no further checks. Throws nothing but CONFIG_INVALID. */
export function loadConfig<S extends DescMessage>(schema: S, text: string, fileName: string): MessageShape<S> {
  return draftConfig(schema, text, fileName).finish();
}

const start: Place = { line: 1, col: 1 };

function parse(text: string, fileName: string): Walk {
  const lines = new LineCounter();
  let doc: ReturnType<typeof parseDocument>;
  try {
    // The library compares every key with every other one to find doubles; the walk has a map for that.
    doc = parseDocument(text, {
      lineCounter: lines,
      uniqueKeys: false,
      prettyErrors: false,
      version: "1.2",
      schema: "core",
    });
  } catch (error) {
    throw configFault(fileName, [
      {
        ...start,
        path: "",
        saw: `not readable as YAML (${error instanceof RangeError ? "nested too deeply" : "its reader failed"})`,
        allowed: "allowed is YAML 1.2",
      },
    ]);
  }
  // Only the first: what comes after a syntax error is mostly its echo.
  const fault = doc.errors[0] ?? doc.warnings[0];
  if (fault) throw configFault(fileName, [syntaxProblem(fault, lines)]);
  return new Walk(doc, lines);
}

/** Where the library quotes what it stumbled over without quotes or a colon before it: our own words. */
const ownWords: Readonly<Partial<Record<YAMLError["code"], string>>> = {
  BAD_DQ_ESCAPE: "an escape that is none, in text in double quotes; a backslash there is written \\\\",
  TAG_RESOLVE_FAILED: "a tag; text that begins with ! is written in quotes",
  BAD_COLLECTION_TYPE: "a tag; text that begins with ! is written in quotes",
  BAD_DIRECTIVE: "a directive; text that begins with % is written in quotes",
};

/** The library quotes the text it stumbled over, which may be a secret: what it says before is enough, with the place. */
function syntaxProblem({ code, message, pos }: YAMLError, lines: LineCounter): Problem {
  const place = lines.linePos(pos[0]);
  if (code === "MULTIPLE_DOCS") {
    return { ...place, path: "", saw: "a second document begins", allowed: "allowed is one document per file" };
  }
  const bare = ownWords[code] ?? (message.split(/["':\n]/)[0]?.trim() || "syntax error");
  return { ...place, path: "", saw: `not readable as YAML (${bare})`, allowed: "allowed is YAML 1.2" };
}

/** The place of `path`, else of what is around it. */
function placeOf(places: ReadonlyMap<string, Place>, path: string): Place {
  for (let at = path; at !== ""; at = at.slice(0, Math.max(at.lastIndexOf("."), at.lastIndexOf("["), 0))) {
    const place = places.get(at);
    if (place) return place;
  }
  return start;
}
