/** A source file with its syntax tree, as the house rules look at it. Judges nothing. */

import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { parseAst } from "vitest/node";

export interface SourceFile {
  /** From the repository's root, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
  readonly program: SyntaxNode;
}

/** A node of the tree; what else it holds depends on its type. */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [property: string]: unknown;
}

export interface ImportLink {
  readonly specifier: string;
  /** `import type`, or every name of it marked `type`. */
  readonly typeOnly: boolean;
  readonly line: number;
}

export function sourceFile(path: string, text: string): SourceFile {
  const program = parseAst(text, { lang: "ts" }) as unknown as SyntaxNode;
  return { path, text, lines: text.split("\n"), program };
}

/** Every TypeScript file below the given folders of the repository. */
export function readSourceFiles(root: string, folders: readonly string[]): SourceFile[] {
  const files: SourceFile[] = [];
  for (const folder of folders) {
    const names = readdirSync(join(root, folder), { recursive: true, encoding: "utf8" });
    for (const name of names.filter((name) => name.endsWith(".ts")).sort()) {
      if (name.split(sep).some((part) => part === "data" || part === "node_modules")) continue;
      const path = relative(root, join(root, folder, name))
        .split(sep)
        .join("/");
      files.push(sourceFile(path, readFileSync(join(root, folder, name), "utf8")));
    }
  }
  return files;
}

/** Line of a position, from 1. */
export function lineAt(file: SourceFile, position: number): number {
  let line = 1;
  for (let i = 0; i < position && i < file.text.length; i++) if (file.text[i] === "\n") line++;
  return line;
}

export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === "object" && value !== null && "type" in value && "start" in value;
}

/** Visits the whole tree, parents first. */
export function walk(
  node: SyntaxNode,
  visit: (node: SyntaxNode, parent: SyntaxNode) => void,
): void {
  const waiting: { node: SyntaxNode; parent: SyntaxNode }[] = [{ node, parent: node }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    visit(next.node, next.parent);
    for (const child of childrenOf(next.node)) waiting.push({ node: child, parent: next.node });
  }
}

function childrenOf(node: SyntaxNode): SyntaxNode[] {
  const values = Object.values(node);
  return values.flatMap((value) => (Array.isArray(value) ? value : [value])).filter(isNode);
}

const LINKS = [
  "ImportDeclaration",
  "ExportNamedDeclaration",
  "ExportAllDeclaration",
  "ImportExpression",
  "TSImportType",
];

/** Whatever ties this file to another one: imports, re-exports, `import()` in code and in types. */
export function importsOf(file: SourceFile): ImportLink[] {
  const links: ImportLink[] = [];
  walk(file.program, (node) => {
    if (!LINKS.includes(node.type)) return;
    const source = node["source"] ?? node["argument"];
    const literal = isNode(source) && isNode(source["literal"]) ? source["literal"] : source;
    if (!isNode(literal) || typeof literal["value"] !== "string") return;
    const line = lineAt(file, node.start);
    links.push({ specifier: literal["value"], typeOnly: isTypeOnly(node), line });
  });
  return links;
}

function isTypeOnly(node: SyntaxNode): boolean {
  if (node.type === "TSImportType") return true;
  if (node["importKind"] === "type" || node["exportKind"] === "type") return true;
  const names = node["specifiers"];
  if (!Array.isArray(names) || names.length === 0) return false;
  return names.every((name) => name.importKind === "type" || name.exportKind === "type");
}
