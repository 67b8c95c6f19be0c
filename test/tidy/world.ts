import ts from "typescript";

/** One place where a file that only decides touches the world. */
export interface Touch {
  readonly line: number;
  readonly saw: string;
  readonly instead: string;
}

const ports: Record<string, string> = {
  setTimeout: "Clock.wakeAt, and a deadline in the state",
  setInterval: "Clock.wakeAt, and a deadline in the state",
  setImmediate: "an effect that a driver runs",
  performance: "the Moment it is given, or a Clock",
  process: "main.ts or a *.driver.ts, which pass in what is needed",
  fetch: "a *.driver.ts behind a port",
  console: "an effect, or the log that main.ts passes in",
  require: "an import",
};

const worldlyPackages =
  /^(node:|@grpc\/grpc-js$|level$|classic-level$|systeminformation$|pino$|prom-client$|@connectrpc\/connect-node$|@peculiar\/x509$)/;
// Built-ins that compute and touch nothing.
const harmless = new Set(["node:path", "node:util", "node:buffer", "node:url", "node:assert", "node:assert/strict"]);
const harmlessCrypto = new Set(["createHash", "timingSafeEqual"]);

/** Every place where `text` touches clock, chance, process, network or disk. Types touch nothing. */
export function touches(path: string, text: string): Touch[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const found: Touch[] = [];
  const add = (node: ts.Node, saw: string, instead: string) =>
    found.push({ line: file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1, saw, instead });

  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      look(node);
      return;
    }
    if (ts.isTypeNode(node)) return; // `typeof process` as a type is only a type
    if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
      const dotted = `${node.expression.text}.${node.name.text}`;
      if (dotted === "Date.now") add(node, dotted, "the Moment it is given");
      if (dotted === "Math.random") add(node, dotted, "Random, or an effect that asks for chance");
      if (dotted === "crypto.randomUUID" || dotted === "crypto.getRandomValues")
        add(node, dotted, "Moment.id or Random");
    }
    if (ts.isNewExpression(node) && node.expression.getText(file) === "Date" && (node.arguments?.length ?? 0) === 0) {
      add(node, "new Date()", "Moment.wallMs");
    }
    const port = ts.isIdentifier(node) && Object.hasOwn(ports, node.text) ? ports[node.text] : undefined;
    if (port !== undefined && isFree(node)) add(node, node.getText(file), port);
    ts.forEachChild(node, visit);
  };

  const look = (node: ts.ImportDeclaration): void => {
    const from = ts.isStringLiteral(node.moduleSpecifier) ? node.moduleSpecifier.text : "";
    const names = valueNames(node);
    if (names === "none") return;
    if (/(\.driver|\/main)\.ts$/.test(from)) add(node, `import "${from}"`, "a port whose driver main.ts passes in");
    if (!worldlyPackages.test(from) || harmless.has(from)) return;
    if (from === "node:crypto" && names !== "all" && names.every((name) => harmlessCrypto.has(name))) return;
    add(node, `import "${from}"`, "a *.driver.ts, main.ts, store/, cli/ or shared/rpc/");
  };

  visit(file);
  return found;
}

/** The names an import brings in as values: `none` for a type import. */
function valueNames(node: ts.ImportDeclaration): readonly string[] | "all" | "none" {
  const clause = node.importClause;
  if (clause === undefined || clause.name) return clause?.phaseModifier === ts.SyntaxKind.TypeKeyword ? "none" : "all";
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return "none";
  if (clause.namedBindings === undefined || ts.isNamespaceImport(clause.namedBindings)) return "all";
  const names = clause.namedBindings.elements.filter((one) => !one.isTypeOnly);
  return names.length === 0 ? "none" : names.map((one) => (one.propertyName ?? one.name).text);
}

/** True when the identifier means the global of that name: not a property, a key, or something declared here. */
function isFree(node: ts.Node): boolean {
  const parent = node.parent;
  if (ts.isPropertyAccessExpression(parent) && parent.name === node) return false;
  if (ts.isPropertyAssignment(parent) && parent.name === node) return false;
  if (ts.isBindingElement(parent) || ts.isParameter(parent) || ts.isVariableDeclaration(parent)) {
    return parent.initializer === node;
  }
  if (ts.isPropertySignature(parent) || ts.isPropertyDeclaration(parent) || ts.isMethodDeclaration(parent))
    return false;
  if (ts.isMethodSignature(parent) || ts.isShorthandPropertyAssignment(parent)) return false;
  if (ts.isFunctionDeclaration(parent)) return false;
  return !isDeclaredAround(node);
}

/** A parameter or constant of the same name in an enclosing function hides the global. */
function isDeclaredAround(node: ts.Node): boolean {
  const name = node.getText();
  for (let at: ts.Node | undefined = node.parent; at; at = at.parent) {
    if (ts.isFunctionLike(at) && at.parameters.some((one) => declares(one.name, name))) return true;
    if (!ts.isBlock(at) && !ts.isSourceFile(at)) continue;
    const here = at.statements.some(
      (one) =>
        (ts.isVariableStatement(one) && one.declarationList.declarations.some((each) => declares(each.name, name))) ||
        (ts.isFunctionDeclaration(one) && one.name?.text === name),
    );
    if (here) return true;
  }
  return false;
}

function declares(binding: ts.BindingName, name: string): boolean {
  if (ts.isIdentifier(binding)) return binding.text === name;
  return binding.elements.some((one) => !ts.isOmittedExpression(one) && declares(one.name, name));
}
