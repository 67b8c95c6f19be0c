import type { OutputHint } from "../diagnosis/facts.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";

/** A line is looked at up to here. */
const lineMax = 1024;

/**
 * Known texts of common programs, each from the program's own source or manual: redis, nginx, PostgreSQL, MySQL, SQLite, MongoDB,
 * LevelDB, etcd, HAProxy, Node, Python, Go and the C library's error strings. Narrow on purpose: a wrong hint of corruption would
 * put an older copy in the place of good data.
 */
const known: Readonly<Record<OutputHint, readonly RegExp[]>> = {
  corruption: [
    /bad file format reading the append only file|unexpected end of file reading the append only file/i,
    /fatal error loading the DB|short read or OOM loading DB|wrong signature trying to load DB|internal error in RDB reading/i,
    /could not read block|invalid page in block|invalid page header|invalid checkpoint record|could not locate a valid checkpoint record/i,
    /database disk image is malformed|file is not a database|file is encrypted or is not a database/i,
    /\bCorruption: /,
    // With a dash or an underscore beside it, it is the name of an option: etcd tells its `initial-corrupt-check` at each start.
    /(?<![-\w])corrupt(ed|ion)?(?![-\w]).*\b(data|database|files?|pages?|blocks?|index|log|store|table|records?|journal|wal|segment)\b/i,
    /\b(data|database|file|page|block|index|log|store|table|record|journal|wal|segment)\b.*(?<![-\w])corrupt(ed|ion)?(?![-\w])/i,
    /\b(data|database|page|block|index|wal|store|table|record|journal|segment|snapshot)\b.*\b(checksum|crc)\b.*(mismatch|fail|error|wrong)/i,
    /is marked as crashed|incorrect key file for table|InnoDB: Database page corruption/i,
    /WiredTiger.*(WT_PANIC|checksum error)|structure needs cleaning/i,
  ],
  config: [
    /\[emerg\]/i,
    /fatal config file error|bad directive or wrong number of arguments/i,
    /(invalid|illegal|unknown|unrecognized|unsupported|bad|malformed) (configuration|config|option|parameter|directive|setting|flag|key)/i,
    // A plain `invalid argument` is what any system call may answer: an option has to stand beside it.
    /(unknown|unrecognized|unsupported) argument|(invalid|bad) argument\b.{0,80}[ "'`]--?[a-z]/i,
    /configuration (file )?.*(invalid|error|failed|not found|does not exist)|config(uration)? error/i,
    /error (in|parsing|reading|loading) (the )?config|failed to (parse|load|read) (the )?config/i,
    /can't open the log file|unrecognized configuration parameter|syntax error in file/i,
    /no such file or directory.*\.(conf|cfg|ini|ya?ml|toml|json)\b|\.(conf|cfg|ini|ya?ml|toml)\b.*no such file or directory/i,
    /(ya?ml|toml).*(parse|syntax) ?error|error parsing (ya?ml|toml)|parsing file .* errors? found/i,
    /missing (required )?(environment variable|configuration|setting|option)|environment variable .* (is )?(not set|required|missing)/i,
    /^usage: |unknown option|unrecognized option|invalid option --/i,
  ],
  exhaustion: [
    /no space left on device|ENOSPC|disk quota exceeded|EDQUOT/i,
    /out of memory|cannot allocate memory|ENOMEM|OutOfMemoryError|std::bad_alloc|MemoryError|heap out of memory/i,
    /too many open files|EMFILE|ENFILE|file table overflow/i,
    /resource temporarily unavailable.*(fork|thread)|(can't|cannot|unable to) (create|start) (new |native )?thread|EAGAIN.*fork|fork: (retry|resource|cannot)/i,
    /too many connections|remaining connection slots are reserved|max number of clients reached/i,
    /address already in use|EADDRINUSE/i,
  ],
  dependency: [
    /connection refused|ECONNREFUSED|could not connect to server|can't connect to/i,
    /no route to host|EHOSTUNREACH|ENETUNREACH|network is unreachable/i,
    /ENOTFOUND|EAI_AGAIN|name or service not known|temporary failure in name resolution|could not resolve host/i,
    /connection timed out|ETIMEDOUT/i,
    /upstream (timed out|prematurely closed|connect error)|no live upstreams|bad gateway|service unavailable/i,
    /the database system is starting up|LOADING Redis is loading|MASTERDOWN/i,
  ],
};

/** Says that nothing is corrupt, or that it is looked for: no sign of corruption, but another one may stand in the same line. */
const soundData = new RegExp(
  [
    // `no corruption`, `no public-schema index corruption`, `0 records corrupted`
    String.raw`\b(no|0|zero|without|non|free of)(\s+(any|signs?|evidence|of|[\w-]*(data|database|file|page|block|index|log|store|table|record|row|journal|wal|segment|schema|btree)(e?s)?))*[\s-]+corrupt(ed|ion)?`,
    String.raw`\b(not|never)\s+(been\s+|be\s+|a\s+)?corrupt(ed|ion)?`,
    String.raw`\b(check(s|ed|ing)?|scan(s|ned|ning)?|look(s|ed|ing)?)\b[^.;:,]{0,60}\bfor\s+(\w+\s+)?corruption`,
    String.raw`\bcorrupt(ed|ion)?["']?\s*[:=]\s*["']?(0|none|false|off)\b`,
  ].join("|"),
  "gi",
);

/** What the last lines of a workload's output hint at: by its own patterns where it has some, else by known texts. */
export function hintsIn(lines: readonly string[], patterns: WorkloadSpec["patterns"]): OutputHint[] {
  const own: Partial<Record<OutputHint, RegExp>> = {
    ...(patterns.corruption !== "" && { corruption: new RegExp(patterns.corruption, "i") }),
    ...(patterns.configError !== "" && { config: new RegExp(patterns.configError, "i") }),
  };
  const cut = lines.map((line) => line.slice(0, lineMax));
  const kinds = Object.keys(known) as OutputHint[];
  return kinds.filter((kind) => {
    const mine = own[kind];
    if (mine) return cut.some((line) => mine.test(line));
    const said = kind === "corruption" ? cut.map((line) => line.replace(soundData, "")) : cut;
    return said.some((line) => known[kind].some((text) => text.test(line)));
  });
}
