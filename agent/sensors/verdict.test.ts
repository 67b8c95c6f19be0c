import { expect, test } from "vitest";
import { failure } from "./verdict.ts";

const withCode = (code: string) => Object.assign(new Error(code), { code });

test.each(["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EAGAIN"])(
  "%s is the agent's own want and no answer of the workload",
  (code) => {
    expect(failure(withCode(code), "cannot be started")).toEqual({
      ok: false,
      because: "cannot be started",
      unasked: true,
    });
  },
);

test.each(["ECONNREFUSED", "ECONNRESET", "ENOENT", "ETIMEDOUT"])(
  "%s is an answer: the workload has failed its probe",
  (code) => {
    expect(failure(withCode(code), "refused")).toEqual({ ok: false, because: "refused" });
  },
);
