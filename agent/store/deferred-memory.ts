/**
 * What an agent may write of the node's memory that began while its store did not open: it has read nothing, so nothing of its own
 * may take the place of what is there. Only what people have yet to be told is joined. Pure.
 */
import type { StepWrite } from "./ports.ts";

/** The whole list of what people have yet to be told, as a step has it; undefined when the step does not speak of it. */
export function untoldIn({ untold, memory }: StepWrite): readonly unknown[] | undefined {
  const list = untold ?? (memory?.key === "alerts" ? memory.value : undefined);
  return Array.isArray(list) ? list : undefined;
}

/**
 * The step without what was remembered, and without incidents of the node: the next agent would not know of them, and they would
 * stay open for ever. `left` is what an earlier agent had yet to tell: it stands before this one's list, and the next agent tells
 * both. Undefined when nothing is left of the step.
 */
export function withoutMemory(step: StepWrite, left: readonly unknown[]): StepWrite | undefined {
  const { memory: _read, untold: _own, incident, others = [], ...rest } = step;
  const own = untoldIn(step);
  const may: StepWrite = {
    ...rest,
    ...(incident && step.workload !== "" && { incident }),
    ...(others.length > 0 && step.workload !== "" && { others }),
    ...(own && { untold: [...left, ...own] }),
  };
  const { workload: _name, audit = [], ...more } = may;
  return audit.length > 0 || Object.values(more).some((one) => one !== undefined) ? may : undefined;
}
