// The floor in Node: spawn again on exit, and nothing else. loop.mjs CHILD FILE COUNT
import { spawn } from "node:child_process";

const [child, file, count] = process.argv.slice(2);
const start = (name) => spawn(child, [file, name], { stdio: "ignore" }).on("exit", () => start(name));
for (let i = 0; i < Number(count); i += 1) start(`w${i}`);
