/** Words of severity; they score 2, 5, 7 and 9 of 10 (design.md, rule 18 of section 7). */
export type Severity = "low" | "medium" | "high" | "critical";
