/**
 * The house rules that a machine can judge. Each takes a file and tells what is wrong and what to do instead.
 * What needs taste is not here.
 */

import { posix } from "node:path";
import {
  importsOf,
  isNode,
  lineAt,
  type SourceFile,
  type SyntaxNode,
  walk,
} from "./source-file.ts";

export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

export type Rule = (file: SourceFile) => Finding[];

const FILE_LINES_MAX = 500;
const FUNCTION_LINES_MAX = 70;
const LINE_COLUMNS_MAX = 130;

/** What a module may import of the others. `types`: by `import type` only. A path stands for that one file. */
interface Arrows {
  readonly values: readonly string[];
  readonly types: readonly string[];
  /** npm packages; `node:*` is open to all but the pure ones. */
  readonly packages: readonly string[];
}

const ARROWS: { readonly [module: string]: Arrows } = {
  sql: { values: [], types: [], packages: [] },
  raft: { values: ["sql/invariant.ts"], types: ["sql"], packages: [] },
  wire: {
    values: ["sql"],
    types: ["raft"],
    packages: ["protobufjs", "@grpc/grpc-js", "@grpc/proto-loader"],
  },
  // raft/entry.ts is types and a few constants.
  log: { values: ["sql", "raft/entry.ts"], types: ["raft", "node/ports.ts"], packages: [] },
  machine: {
    values: ["sql", "wire", "log/crc.ts"],
    types: ["raft", "node/ports.ts"],
    packages: ["better-sqlite3"],
  },
  node: { values: ["raft", "sql"], types: [], packages: [] },
  rpc: {
    values: ["sql", "wire", "node"],
    types: ["raft"],
    packages: ["@grpc/grpc-js", "@grpc/proto-loader", "@grpc/reflection", "grpc-health-check"],
  },
  client: { values: ["wire", "sql"], types: [], packages: ["@grpc/grpc-js"] },
  adapters: { values: ["client", "sql"], types: [], packages: [] },
  // `service/local-database.ts` reads the node's file in the caller's process.
  service: {
    values: [
      ...["rpc", "node", "client", "sql"],
      ...["machine/extension-files.ts", "machine/extension-loading.ts", "machine/reading-text.ts"],
    ],
    types: [],
    packages: ["pino", "better-sqlite3"],
  },
  testing: { values: ["client", "sql"], types: [], packages: [] },
  cli: {
    // `balsa log` reads a stopped node's log, others make files of databases: the files named do not run a node.
    values: [
      ...["service", "rpc", "node", "client", "wire", "sql"],
      ...["log/inspect.ts", "raft/membership.ts", "machine/directory-lock.ts"],
      ...[
        "machine/extension-files.ts",
        "machine/extension-names.ts",
        "machine/plain-copy.ts",
        "machine/sql-dump.ts",
        "machine/seed-file.ts",
        "log/seed-log.ts",
      ],
    ],
    types: ["raft", "log"],
    packages: ["commander"],
  },
};

/** The one file of node that joins the parts, and what only it may import. */
const COMPOSITION_ROOTS = {
  paths: ["src/node/open-node.ts", "src/node/recover-node.ts"],
  values: ["log", "machine"],
};

export const importMatrix: Rule = (file) => {
  const own = moduleOf(file.path);
  if (own === "") return [];
  const arrows = ARROWS[own];
  if (arrows === undefined) {
    return [finding(file, 1, `src/${own} is not in the import matrix; add it with its arrows`)];
  }
  const isRoot = COMPOSITION_ROOTS.paths.includes(file.path);
  const values = isRoot ? [...arrows.values, ...COMPOSITION_ROOTS.values] : arrows.values;
  const findings: Finding[] = [];
  for (const link of importsOf(file)) {
    if (!link.specifier.startsWith(".")) {
      const refusal = refusePackage(own, link.specifier, arrows);
      if (refusal !== "") findings.push(finding(file, link.line, refusal));
      continue;
    }
    const target = posix.join(posix.dirname(file.path), link.specifier).replace(/^src\//, "");
    const open = link.typeOnly ? [...values, ...arrows.types] : values;
    const allowed = [own, ...open].some((each) => target === each || target.startsWith(`${each}/`));
    if (allowed) continue;
    findings.push(finding(file, link.line, arrowMessage(own, target, arrows, link.typeOnly)));
  }
  return findings;
};

function moduleOf(path: string): string {
  const [top, own, ...rest] = path.split("/");
  return top === "src" && own !== undefined && rest.length > 0 ? own : "";
}

function refusePackage(own: string, specifier: string, arrows: Arrows): string {
  const isPure = own === "raft" || own === "sql";
  if (specifier.startsWith("node:")) {
    return isPure ? `${own} is pure: no ${specifier}; let the caller pass what it needs` : "";
  }
  const parts = specifier.split("/");
  const name = specifier.startsWith("@") ? parts.slice(0, 2).join("/") : (parts[0] ?? "");
  if (arrows.packages.includes(name)) return "";
  return `${own} does not import ${name}; use the module that wraps it, or add it to the matrix`;
}

function arrowMessage(own: string, target: string, arrows: Arrows, typeOnly: boolean): string {
  const types = arrows.types.length === 0 ? "" : `; as types also ${arrows.types.join(", ")}`;
  const may = arrows.values.join(", ") || "nothing";
  const what = typeOnly ? "the types of " : "";
  return (
    `${own} does not import ${what}${target}: it may import ${may}${types}. ` +
    "Declare a port in the importing module, or move the thing down"
  );
}

const IMPURE: { readonly [name: string]: string } = {
  Date: "take the time as an input",
  performance: "take the time as an input",
  setTimeout: "count ticks; the caller owns the clock",
  setInterval: "count ticks; the caller owns the clock",
  setImmediate: "leave an effect",
  queueMicrotask: "leave an effect",
  process: "take it as configuration",
  console: "leave it to the caller to log",
  Promise: "leave an effect, take its completion as an input",
  crypto: "take the number as an input",
};

/** src/raft is a pure function of its inputs (no clock, dice, promise or I/O). */
export const pureCore: Rule = (file) => {
  if (!file.path.startsWith("src/raft/")) return [];
  const findings: Finding[] = [];
  walk(file.program, (node, parent) => {
    const line = lineAt(file, node.start);
    if (node.type === "AwaitExpression" || node["async"] === true) {
      findings.push(finding(file, line, "the core is not async; leave an effect instead"));
    }
    if (isMember(node, "Math", "random")) {
      findings.push(finding(file, line, "no Math.random in the core; take the dice as an input"));
    }
    if (node.type !== "Identifier" || typeof node["name"] !== "string") return;
    const isProperty =
      (parent.type === "MemberExpression" && parent["property"] === node && !parent["computed"]) ||
      parent["key"] === node;
    const instead = Object.hasOwn(IMPURE, node["name"]) ? IMPURE[node["name"]] : undefined;
    if (isProperty || instead === undefined) return;
    findings.push(finding(file, line, `no ${node["name"]} in the core; ${instead}`));
  });
  return findings;
};

function isMember(node: SyntaxNode, object: string, property: string): boolean {
  if (node.type !== "MemberExpression") return false;
  const left = node["object"];
  const right = node["property"];
  return isNode(left) && left["name"] === object && isNode(right) && right["name"] === property;
}

export const fileLength: Rule = (file) => {
  const count = file.lines.length - (file.lines.at(-1) === "" ? 1 : 0);
  if (count <= FILE_LINES_MAX) return [];
  const message = `${count} lines; split the file by what it does (${FILE_LINES_MAX} at most)`;
  return [finding(file, FILE_LINES_MAX + 1, message)];
};

/** Production code only: the body of a `describe` is not a function in the sense that matters. */
export const functionLength: Rule = (file) => {
  if (file.path.startsWith("test/")) return [];
  const findings: Finding[] = [];
  walk(file.program, (node) => {
    if (!/^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(node.type))
      return;
    const first = lineAt(file, node.start);
    const count = lineAt(file, node.end) - first + 1;
    if (count <= FUNCTION_LINES_MAX) return;
    const message = `a function of ${count} lines; name its parts (${FUNCTION_LINES_MAX} at most)`;
    findings.push(finding(file, first, message));
  });
  return findings;
};

/**
 * The formatter breaks code at 100 columns. What is longer is a comment, or a string that it cannot break; those have a
 * bound of their own. A regular expression has none: it cannot be broken at all.
 */
export const lineLength: Rule = (file) => {
  const findings: Finding[] = [];
  for (const [at, line] of file.lines.entries()) {
    const isExpression = /^\s*\/(?![/*])/.test(line);
    if (line.length <= LINE_COLUMNS_MAX || isExpression) continue;
    const message = `${line.length} columns; break the line (${LINE_COLUMNS_MAX} at most)`;
    findings.push(finding(file, at + 1, message));
  }
  return findings;
};

export const opensWithComment: Rule = (file) => {
  const first = file.lines[0]?.startsWith("#!") === true ? file.lines[1] : file.lines[0];
  if (first !== undefined && /^(\/\/|\/\*)/.test(first)) return [];
  return [finding(file, 1, "open the file with a comment: what it is for and what it never does")];
};

const DRAWERS = /(^|[-.])(utils?|helpers?|common|misc|shared|types)(?=[-.])/;

/** A file named after nothing collects everything. */
export const namedFiles: Rule = (file) => {
  const name = posix.basename(file.path);
  if (DRAWERS.test(name)) {
    return [finding(file, 1, `${name} is a drawer; name the file after the thing it holds`)];
  }
  if (/^[a-z0-9]+([-.][a-z0-9]+)*\.ts$/.test(name)) return [];
  return [
    finding(file, 1, `${name} is not kebab-case; rename it to lower-case words with hyphens`),
  ];
};

export const noLeftovers: Rule = (file) => {
  const findings: Finding[] = [];
  for (const [at, line] of file.lines.entries()) {
    const marker = /\b(TODO|FIXME|XXX|HACK)\b/.exec(line);
    if (marker === null) continue;
    const message = `${marker[1]} left behind; do it, or write down the gap in docs/`;
    findings.push(finding(file, at + 1, message));
  }
  return findings;
};

const RUNNERS = ["test", "it", "describe", "suite", "bench"];

/** A test that is left out, or leaves all others out, says nothing while it looks as if it did. */
export const wholeSuite: Rule = (file) => {
  if (!file.path.startsWith("test/")) return [];
  const findings: Finding[] = [];
  walk(file.program, (node) => {
    for (const runner of RUNNERS) {
      for (const way of ["only", "skip", "todo"]) {
        if (!isMember(node, runner, way)) continue;
        const message = `${runner}.${way} left behind; make the test run, or delete it`;
        findings.push(finding(file, lineAt(file, node.start), message));
      }
    }
  });
  return findings;
};

export const namedExports: Rule = (file) => {
  if (!file.path.startsWith("src/")) return [];
  const findings: Finding[] = [];
  walk(file.program, (node) => {
    if (node.type !== "ExportDefaultDeclaration") return;
    const message = "a default export; export it by its name, so that it has one everywhere";
    findings.push(finding(file, lineAt(file, node.start), message));
  });
  return findings;
};

/** Folders of one machine. A path in the repository is relative, one at run time comes from an option. */
const MACHINE_PATHS = /(["'`\s(]|^)\/(work|home|root|Users|mnt|var\/folders)\//;

export const noMachinePaths: Rule = (file) => {
  const findings: Finding[] = [];
  for (const [at, line] of file.lines.entries()) {
    if (!MACHINE_PATHS.test(line)) continue;
    const message =
      "a path of one machine; write it relative to the repository, or make it an option";
    findings.push(finding(file, at + 1, message));
  }
  return findings;
};

function finding(file: SourceFile, line: number, message: string): Finding {
  return { path: file.path, line, message };
}
