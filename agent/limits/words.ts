/** For sentences that people read: `212 MiB`, rounded. */
export function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}

/** A share of one core, as operators write it: 1.5 is `150 %`. */
export function share(ratio: number): string {
  return `${Math.round(ratio * 100)} %`;
}

/** `61 s`, rounded. */
export function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}
