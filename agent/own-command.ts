/**
 * The arguments of `up` as its watchdog, its good copy and the emergency repeat them: `up` first, and the data directory
 * always and absolute, for whoever starts it next may work elsewhere and with another environment. Pure.
 */
export function upWords(args: readonly string[], dataDir: string): readonly string[] {
  const split = args.indexOf("--");
  const own = split < 0 ? args : args.slice(0, split);
  const rest: string[] = [];
  for (let at = 0; at < own.length; at++) {
    const word = own[at] ?? "";
    if (word === "--data-dir") at += 1;
    else if (!word.startsWith("--data-dir=")) rest.push(word);
  }
  const up = rest.indexOf("up");
  if (up >= 0) rest.splice(up, 1);
  return ["up", "--data-dir", dataDir, ...rest, ...(split < 0 ? [] : args.slice(split))];
}
