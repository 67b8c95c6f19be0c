/** The order of keys in every engine: by their UTF-8 bytes. JavaScript's own differs beyond U+FFFF. */
export function compareKeys(left: string, right: string): number {
  if (left === right) return 0;
  for (let at = 0; at < left.length && at < right.length; at++) {
    const a = left.charCodeAt(at);
    const b = right.charCodeAt(at);
    if (a === b) continue;
    // Surrogates stand for characters above everything else of 16 bits.
    const aHigh = a >= 0xd800 && a <= 0xdfff;
    const bHigh = b >= 0xd800 && b <= 0xdfff;
    if (aHigh !== bHigh) return aHigh ? 1 : -1;
    return a - b;
  }
  return left.length - right.length;
}

/** The first place in the sorted `keys` whose key is not below `key`. */
export function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const at = keys[middle];
    if (at !== undefined && compareKeys(at, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
