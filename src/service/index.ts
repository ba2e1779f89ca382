/** What apps import that hold a node themselves. Everything a caller may name is here, and nothing else. */

export { EmbeddedNode, openNode } from "./embedded-node.ts";
export type { EmbeddedNodeOptions } from "./embedded-options.ts";
export { LocalDatabase, LocalStatement } from "./local-database.ts";
