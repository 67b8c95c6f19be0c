/**
 * One tree of an isolation forest, as text.
 *
 *   A B C D | A B C D | … | a b c …
 *   inner node: 4 letters of 6 bits = 7 bits: inner nodes in its left half, 3 bits: feature, 14 bits: cut
 *   leaf: 1 letter = what its rows would add to the path, in 63rds of the longest
 *
 * Inner nodes stand in preorder: the left child follows its parent, the right child follows the left half. A tree of height 8
 * has at most 127 inner nodes in a half, and n inner nodes have n + 1 leaves, so nothing more has to be written. The text is
 * walked as it is: it is stored, sent and read without being unpacked.
 */

/** Values are integers below this: 14 bits. */
export const levels = 1 << 14;
/** Paths are cut off here: 2^8 = 256 rows, as in the paper. */
const heightMax = 8;
/** Three bits. */
const featuresMax = 8;

/** How values of a feature become integers: (value − low) / step, rounded down. */
export interface Grid {
  readonly low: number;
  readonly step: number;
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const bitsOf = Uint8Array.from({ length: 128 }, (_, code) => Math.max(0, letters.indexOf(String.fromCharCode(code))));

/**
 * c(n): the mean path of an unsuccessful search in a binary search tree of n entries, 2·H(n−1) − 2·(n−1)/n with
 * H(i) ≈ ln i + 0.5772 (Liu, Ting, Zhou 2008, equation 1).
 */
export function meanPath(count: number): number {
  if (count <= 1) return 0;
  if (count === 2) return 1;
  return 2 * (Math.log(count - 1) + 0.5772156649) - (2 * (count - 1)) / count;
}

const leafMost = meanPath(1 << heightMax);

/** Grows one tree over these rows (at most 256, of at most 8 features): random feature, random cut, until alone or at height 8. */
export function buildTree(rows: readonly Uint16Array[], random: () => number): string {
  const own = [...rows];
  const inner: string[] = [];
  const leaves: string[] = [];
  /** Grows the subtree over own[from, to), in preorder; its inner nodes are counted in the answer. */
  const grow = (from: number, to: number, height: number): number => {
    const cut = height < heightMax && to - from > 1 ? cutOf(own, from, to, random) : undefined;
    if (cut === undefined) {
      leaves.push(letters.charAt(Math.round((63 * meanPath(to - from)) / leafMost)));
      return 0;
    }
    const place = inner.push("") - 1;
    const middle = part(own, from, to, cut.feature, cut.at);
    const left = grow(from, middle, height + 1);
    inner[place] = node(left, cut.feature, cut.at);
    return 1 + left + grow(middle, to, height + 1);
  };
  grow(0, own.length, 0);
  return inner.join("") + leaves.join("");
}

/** Reorders own[from, to) so that rows below the cut come first; answers where the others begin. */
function part(own: Uint16Array[], from: number, to: number, feature: number, cut: number): number {
  let middle = from;
  for (let at = from; at < to; at += 1) {
    const row = own[at];
    const other = own[middle];
    if (row === undefined || other === undefined || (row[feature] ?? 0) >= cut) continue;
    own[at] = other;
    own[middle] = row;
    middle += 1;
  }
  return middle;
}

/**
 * The path of `row` from the root to its leaf. Where the row lies beyond all that the tree has seen (`beyond`: by how many
 * levels, above 0 over the top, below 0 under the bottom), a cut over that feature would have hit the empty space with the
 * chance gap/(gap + range), and the row would have been alone there: the path is the mean over both. It is how a random cut
 * forest inserts a point (Guha, Mishra, Roy, Schrijvers, "Robust Random Cut Forest", ICML 2016). The range is that of the
 * cuts on the way, which is not less than that of the rows: the chance is never overstated.
 */
export function expectedPath(tree: string, row: Uint16Array, beyond?: readonly number[]): number {
  let inner = (tree.length - 1) / 5;
  let leaf = inner * 4;
  let at = 0;
  let path = 0;
  let weight = 1;
  const ranges = beyond?.map(() => levels);
  while (inner > 0) {
    const second = bits(tree, at + 1);
    const left = (bits(tree, at) << 1) | (second >> 5);
    const feature = (second >> 2) & 7;
    const cut = ((second & 3) << 12) | (bits(tree, at + 2) << 6) | bits(tree, at + 3);
    path += weight;
    const gap = beyond?.[feature] ?? 0;
    if (ranges && gap !== 0) {
      const range = ranges[feature] ?? levels;
      weight *= range / (range + Math.abs(gap));
      ranges[feature] = Math.min(range, gap > 0 ? levels - cut : cut);
    }
    if ((row[feature] ?? 0) < cut) {
      at += 4;
      inner = left;
    } else {
      at += 4 * (left + 1);
      leaf += left + 1;
      inner -= left + 1;
    }
  }
  return path + (weight * bits(tree, leaf) * leafMost) / 63;
}

/** A random feature among those that differ within own[from, to), and a random cut between its least and most value. */
function cutOf(own: readonly Uint16Array[], from: number, to: number, random: () => number) {
  const width = Math.min(featuresMax, own[from]?.length ?? 0);
  // Trying them in order from a random one on would favour neighbours of constant features; a draw among those left does not.
  let tried = 0;
  for (let left = width; left > 0; left -= 1) {
    const feature = untried(tried, Math.floor(random() * left));
    tried |= 1 << feature;
    let least = levels;
    let most = 0;
    for (let at = from; at < to; at += 1) {
      const value = own[at]?.[feature] ?? 0;
      if (value < least) least = value;
      if (value > most) most = value;
    }
    if (most > least) return { feature, at: least + 1 + Math.floor(random() * (most - least)) };
  }
  return undefined;
}

/** The n-th feature whose bit is not set in `tried`. */
function untried(tried: number, n: number): number {
  let feature = 0;
  for (let skip = n; ; feature += 1) {
    if ((tried >> feature) & 1) continue;
    if (skip === 0) return feature;
    skip -= 1;
  }
}

function node(left: number, feature: number, cut: number): string {
  const word = (left << 17) | (feature << 14) | cut;
  return [18, 12, 6, 0].map((shift) => letters.charAt((word >> shift) & 63)).join("");
}

function bits(tree: string, at: number): number {
  return bitsOf[tree.charCodeAt(at)] ?? 0;
}
