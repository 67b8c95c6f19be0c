import { expect, test } from "vitest";
import type { Playbook, Step } from "../playbooks/playbook.ts";
import { playbookInfo, runAnswer } from "./playbook-desk.ts";

const secret = "hunter2secret";
const step = (action: Step["action"]): Step => ({ name: "", timeoutMs: 1, onFailure: "stop", once: false, action });
const steps = [
  step({ do: "exec", command: ["/usr/bin/redis-cli", "-a", secret, "PING"], cwd: "" }),
  step({ do: "http", method: "POST", port: 8080, path: `/flush?token=${secret}`, body: secret }),
];
const words = ["run /usr/bin/redis-cli", "POST /flush"];

test("the list of playbooks, which every helper of a workload may ask for, told the arguments and the query of their steps", () => {
  const mine: Playbook = { name: "mine", description: "Ours.", pool: "", timeoutMs: 1, steps, added: true };
  expect(playbookInfo(mine, 1, 0).steps).toEqual(words);
  const rows = steps.map((one) => ({ step: one, outcome: "would" as const, because: "", tookMs: 0 }));
  expect(runAnswer("mine", { ok: true, steps: rows }).steps.map((one) => one.step)).toEqual(words);
});
