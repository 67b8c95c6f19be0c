/** One-sided, 95 % sure. */
const z = 1.645;

/**
 * How often does it work, by `ok` successes among `all` tries? With 95 % certainty at least `low`, and at most `high` (each
 * bound by itself). Wilson's score interval (1927), which is honest with few tries: nothing known is 0 to 1. The counts may
 * be fractions, where older tries weigh less.
 */
export function wilson(ok: number, all: number): { readonly low: number; readonly high: number } {
  if (all <= 0) return { low: 0, high: 1 };
  const share = ok / all;
  const middle = share + z ** 2 / (2 * all);
  const spread = z * Math.sqrt((share * (1 - share)) / all + z ** 2 / (4 * all ** 2));
  const scale = 1 + z ** 2 / all;
  return { low: Math.max(0, (middle - spread) / scale), high: Math.min(1, (middle + spread) / scale) };
}
