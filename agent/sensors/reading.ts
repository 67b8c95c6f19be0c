/** One value of one sensor. */
export interface Reading {
  /** A stable word with its unit last. */
  readonly sensor: string;
  /** Empty for the node, else `workload/NAME` or a mount point. */
  readonly subject: string;
  readonly value: number;
}
