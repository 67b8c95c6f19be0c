import { describe, expect, test } from "vitest";
import {
  type Group,
  groupsOf,
  type MassEvent,
  massDeadline,
  massPolicyOf,
  massStep,
  newGroup,
  restoredGroup,
} from "./mass.ts";
import { policyOf } from "./policy.ts";

const policy = massPolicyOf(policyOf());
const names = (count: number, from = 0) => Array.from({ length: count }, (_, index) => `n${from + index}`);

function group() {
  let state: Group = newGroup("site/lab");
  let ids = 0;
  const tell = (ms: number, event: MassEvent) => {
    const { state: next, effects } = massStep(policy, state, event, { ms, wallMs: ms, id: `id-${++ids}` });
    state = next;
    return effects.map((effect) => effect.do);
  };
  return {
    tell,
    census: (ms: number, fell: string[], back: string[], alive: number, covered = false) =>
      tell(ms, { is: "census", fell, back, alive, covered }),
    restart: () => {
      state = restoredGroup(JSON.parse(JSON.stringify(state)));
    },
    get state() {
      return state;
    },
  };
}

describe("freezing", () => {
  test("half of a site that falls silent within one window freezes it: one incident, one alert", () => {
    const site = group();
    expect(site.census(1_000, names(2), [], 4)).toEqual([]);
    expect(site.census(18_900, ["n2"], [], 3)).toEqual(["freeze", "openIncident", "alert"]);
    expect(site.census(19_000, ["n3"], [], 2)).toEqual([]);
  });

  test("less than half is no mass silence, nor are two nodes of two", () => {
    expect(group().census(1_000, names(3), [], 4)).toEqual([]);
    expect(group().census(1_000, names(2), [], 0)).toEqual([]);
  });

  test("who fell silent before the window is not part of together", () => {
    const site = group();
    site.census(1_000, names(2), [], 4);
    expect(site.census(19_001, ["n2"], [], 3)).toEqual([]);
  });

  test("who came back within the window does not count, and who fell twice counts once", () => {
    const site = group();
    site.census(1_000, names(2), [], 3);
    site.census(2_000, [], ["n0"], 4);
    expect(site.census(3_000, ["n2"], [], 3)).toEqual([]);
    expect(site.census(4_000, ["n2"], [], 3)).toEqual([]);
  });

  test("a site whose silence a larger group explains freezes without an incident of its own", () => {
    const site = group();
    expect(site.census(1_000, names(4), [], 0, true)).toEqual(["freeze"]);
    expect(site.tell(2_000, { is: "overridden", person: "ann" })).toEqual(["thaw"]);
  });

  test("and when the larger group thaws first, it explains itself", () => {
    const site = group();
    site.census(1_000, names(4), [], 0, true);
    expect(massDeadline(policy, site.state)).toBe(Number.NEGATIVE_INFINITY);
    expect(site.census(2_000, [], [], 0, true)).toEqual([]);
    expect(site.census(3_000, [], [], 0)).toEqual(["openIncident", "alert"]);
    expect(site.census(4_000, [], [], 0)).toEqual([]);
  });

  test("an amnesty moves the window with the hub", () => {
    const site = group();
    site.census(1_000, names(2), [], 4);
    site.tell(101_000, { is: "amnesty", byMs: 100_000 });
    expect(site.census(110_000, ["n2"], [], 3)).toContain("freeze");
  });
});

describe("thawing", () => {
  function frozen() {
    const site = group();
    site.census(1_000, names(4), [], 2);
    return site;
  }

  test("it thaws when fewer are missing and that lasts, and begins anew when it does not", () => {
    const site = frozen();
    expect(site.census(10_000, [], ["n0", "n1"], 4)).toEqual([]);
    expect(massDeadline(policy, site.state)).toBe(40_000);
    expect(site.census(39_000, ["n0"], [], 3)).toEqual([]);
    expect(massDeadline(policy, site.state)).toBe(Number.POSITIVE_INFINITY);
    site.census(41_000, [], ["n0"], 4);
    expect(site.census(71_000, [], [], 4)).toEqual([]);
    expect(site.census(71_001, [], [], 4)).toEqual(["thaw", "closeIncident"]);
    expect(site.state).toEqual(newGroup("site/lab"));
  });

  test("a freeze outlives a restart of the hub", () => {
    const site = frozen();
    site.restart();
    expect(site.state).toMatchObject({ at: "frozen", missing: names(4) });
    expect(site.census(0, [], names(4), 6)).toEqual([]);
    expect(site.census(30_001, [], [], 6)).toEqual(["thaw", "closeIncident"]);
  });

  test("a person ends it, once", () => {
    const site = frozen();
    expect(site.tell(2_000, { is: "overridden", person: "ann" })).toEqual(["thaw", "closeIncident"]);
    expect(site.tell(3_000, { is: "overridden", person: "ann" })).toEqual([]);
  });
});

test("a node belongs to its site, and to everyone where there is more than one site", () => {
  expect(groupsOf("lab", 1)).toEqual(["site/lab"]);
  expect(groupsOf("lab", 2)).toEqual(["site/lab", "all"]);
  expect(groupsOf("", 1)).toEqual(["all"]);
});
