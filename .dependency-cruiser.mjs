// The architecture, as rules (CONTRIBUTING.md draws it). `npm run check` runs them.
const decides = { path: "^(agent|hub|shared)/" };
const touches = [
  "\\.driver\\.ts$",
  "(^|/)main\\.ts$",
  "/store/",
  "/cli/",
  "^agent/(watchdog|bootstrap)/",
  "^shared/(rpc|gen)/",
  "\\.test\\.ts$",
  "\\.contract\\.ts$",
];

// biome-ignore lint/style/noDefaultExport: dependency-cruiser reads its rules from the default export
export default {
  forbidden: [
    {
      name: "sides-meet-on-the-wire",
      comment: "Agent and hub share what lies in shared/ and speak over the link; neither imports the other.",
      severity: "error",
      from: { path: "^agent/", pathNot: "\\.test\\.ts$" },
      to: { path: "^hub/" },
    },
    {
      name: "hub-imports-no-agent",
      comment: "As above, from the other side.",
      severity: "error",
      from: { path: "^hub/", pathNot: "\\.test\\.ts$" },
      to: { path: "^agent/" },
    },
    {
      name: "shared-knows-no-side",
      comment: "What both sides import knows neither.",
      severity: "error",
      from: { path: "^shared/", pathNot: "\\.(test|contract)\\.ts$" },
      to: { path: "^(agent|hub|examples|test|deploy)/" },
    },
    {
      name: "product-imports-no-tests",
      comment: "Fakes and tools stay out of what ships.",
      severity: "error",
      from: { path: "^(agent|hub|shared|examples)/", pathNot: "\\.(test|contract)\\.ts$" },
      to: { path: "^(test|deploy)/" },
    },
    {
      name: "deciders-import-no-drivers",
      comment: "What decides is given a port; main.ts passes the driver in.",
      severity: "error",
      from: { ...decides, pathNot: touches },
      to: { path: "(\\.driver|/main)\\.ts$", dependencyTypesNot: ["type-only"] },
    },
    {
      name: "generated-types-stop-at-the-edges",
      comment: "The machines speak in types of their own, so that a change of the wire changes no decision.",
      severity: "error",
      from: {
        path: "^(agent/supervise/|hub/escalation/|shared/(time|random|errors|ids|store|detect)/)",
        // report.ts is the edge: it turns the machine's own words into the link's records.
        pathNot: [...touches, "^agent/supervise/report\\.ts$"],
      },
      to: { path: "^shared/gen/" },
    },
    {
      name: "no-circles",
      comment: "Two files that need each other are one file, or lack a third.",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "resolvable",
      comment: "An import that leads nowhere.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "(^|/)(node_modules|dist|out)/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default"] },
  },
};
